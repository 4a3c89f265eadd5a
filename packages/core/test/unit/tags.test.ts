import { describe, expect, it } from 'vitest';
import { createCollapser, type Collapser, type RunOptions } from '../../src/index.js';
import { hashKey } from '../../src/key.js';
import { hashTag } from '../../src/tags.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

/** The same promises hold in one process and in a cluster; in a cluster the calls come from different replicas in turn. */
interface Stage {
  readonly clock: ManualClock;
  next(): Collapser;
  close(): Promise<void>;
}

function processStage(): Stage {
  const clock = new ManualClock();
  const collapser = createCollapser({ clock });
  return { clock, next: () => collapser, close: () => collapser.close() };
}

function clusterStage(): Stage {
  const { clock, replicas, closeAll } = cluster(3);
  let turn = 0;
  return {
    clock,
    next() {
      const replica = replicas[turn++ % replicas.length];
      if (replica === undefined) throw new Error('no replica');
      return replica;
    },
    close: closeAll,
  };
}

/** The code, or the message, of what a call is rejected with; listens at once. */
function failureOf(call: Promise<unknown> | undefined): Promise<unknown> {
  return Promise.resolve(call).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? (Reflect.get(error, 'code') ?? error.message) : error),
  );
}

const LONG = { ttlMs: 600_000 };

describe.each([
  ['in one process', processStage],
  ['across replicas', clusterStage],
])('invalidateTag %s', (_, makeStage) => {
  async function withStage(use: (stage: Stage, done: <T>(call: Promise<T>) => Promise<T>) => Promise<void>): Promise<void> {
    const stage = makeStage();
    await use(stage, async (call) => {
      call.catch(() => {}); // It may fail before it is waited for.
      await stage.clock.advance(0);
      return call;
    });
    await stage.close();
    expect(stage.clock.pending, 'timers left').toBe(0);
  }

  it('removes every stored value that carries the tag, whoever stored it, and no other', () =>
    withStage(async (stage, done) => {
      let loads = 0;
      const load = () => ++loads;
      const get = (key: string, tags: readonly string[]) => done(stage.next().run(key, load, { ...LONG, tags }));
      expect([await get('a', ['shop', 'red']), await get('b', ['shop']), await get('c', ['red'])]).toEqual([1, 2, 3]);
      await done(stage.next().invalidateTag('shop'));
      expect([await get('c', ['red']), await get('a', ['shop', 'red']), await get('b', ['shop'])]).toEqual([3, 4, 5]);
      await done(stage.next().invalidateTag('red'));
      expect([await get('b', ['shop']), await get('a', ['shop', 'red']), await get('c', ['red'])]).toEqual([5, 6, 7]);
    }));

  it('finds values whose tags are known only once they are loaded', () =>
    withStage(async (stage, done) => {
      let loads = 0;
      const get = (key: string) =>
        done(stage.next().run(key, () => ({ owner: `owner ${key}`, load: ++loads }), { ...LONG, tags: ({ owner }) => [owner] }));
      await get('a');
      await get('b');
      await done(stage.next().invalidateTag('owner a'));
      expect([(await get('a')).load, (await get('b')).load]).toEqual([3, 2]);
    }));

  it('removes stored errors that carry it, so that what was missing and now exists is found', () =>
    withStage(async (stage, done) => {
      let loads = 0;
      const get = () =>
        done(
          stage.next().run(
            'user 7',
            () => {
              loads++;
              if (loads === 1) throw new Error('no such user');
              return loads;
            },
            { ...LONG, negativeTtlMs: 600_000, tags: ['users'] },
          ),
        );
      await expect(get()).rejects.toThrow('no such user');
      await expect(get()).rejects.toThrow('no such user');
      await done(stage.next().invalidateTag('users'));
      expect(await get()).toBe(2);
    }));

  it.each([
    ['known before', ['shop']],
    ['known only after', () => ['shop']],
  ])('fences a running load whose tag is %s: who calls afterwards gets a load of its own, and only that is stored', (__, tags) =>
    withStage(async (stage, done) => {
      const load = manualLoader();
      const options = { ...LONG, tags };
      const before = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      await done(stage.next().invalidateTag('shop'));
      const after = [stage.next(), stage.next(), stage.next()].map((replica) => replica.run('k', load, options));
      await stage.clock.advance(0);
      load.runs[0]?.end('old');
      await stage.clock.advance(0);
      expect(await before).toBe('old');
      load.runs[1]?.end('new');
      await stage.clock.advance(0);
      expect(await Promise.all(after)).toEqual(['new', 'new', 'new']);
      expect(load.runs).toHaveLength(2);
      const later = [stage.next(), stage.next(), stage.next()].map((replica) => replica.run('k', load, options));
      await stage.clock.advance(0);
      expect(await fates(later)).toEqual(['value new', 'value new', 'value new']);
    }),
  );

  it('leaves a running load alone that turns out to carry other tags', () =>
    withStage(async (stage, done) => {
      const load = manualLoader();
      const options = { ...LONG, tags: ['cafe'] };
      const before = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      await done(stage.next().invalidateTag('shop'));
      const after = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      load.runs[0]?.end('v1');
      await stage.clock.advance(0);
      expect([await before, await after]).toEqual(['v1', 'v1']);
      const later = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      expect(await fates([later])).toEqual(['value v1']);
    }));

  it('gives watchers of keys that carry it a new value, on every replica, also where nothing is stored', () =>
    withStage(async (stage, done) => {
      let loads = 0;
      const load = () => `v${++loads}`;
      const watched = [
        stage.next().watch('k', load, { tags: ['shop'] }),
        stage.next().watch('k', load, { tags: () => ['shop'] }),
        stage.next().watch('k', load, { tags: ['cafe'] }),
      ].map((iterable) => iterable[Symbol.asyncIterator]());
      for (const reader of watched) await done(reader.next());
      const first = loads;
      const next = watched.map((reader) => reader.next().then(({ value }) => value as string));
      await done(stage.next().invalidateTag('shop'));
      await stage.clock.advance(60);
      expect(await fates(next)).toEqual([`value v${first + 1}`, `value v${first + 1}`, 'pending']);
      expect(loads).toBe(first + 1);
      for (const reader of watched) await reader.return?.();
    }));

  it('drops what a watcher was loading when a tag was invalidated that the value turns out to carry, and no more than that', () =>
    withStage(async (stage, done) => {
      const load = manualLoader();
      const watched = stage.next().watch('k', load, { tags: (value) => [`tag of ${value}`] });
      const reader = watched[Symbol.asyncIterator]();
      const first = reader.next();
      await stage.clock.advance(0);
      await done(stage.next().invalidateTag('tag of another'));
      await done(stage.next().invalidateTag('tag of v1'));
      load.runs[0]?.end('v1');
      await stage.clock.advance(60);
      expect(load.runs).toHaveLength(2);
      load.runs[1]?.end('v2');
      await stage.clock.advance(60);
      expect((await first).value).toBe('v2');
      expect(load.runs).toHaveLength(2);
      await reader.return?.();
    }));
});

describe('tags', () => {
  const refused = (message: string) =>
    expect.objectContaining({ name: 'TypeError', code: 'ERR_ONEFLIGHT_OPTION', message: expect.stringContaining(message) });

  it('are refused where nothing is stored that could carry them', async () => {
    const collapser = createCollapser();
    const alone = refused('expected options.tags only together with ttlMs, lingerMs, negativeTtlMs or revalidateMs');
    await expect(collapser.run('k', () => 1, { tags: ['a'] })).rejects.toEqual(alone);
    await expect(collapser.run('k', () => 1, { tags: () => ['a'] })).rejects.toEqual(alone);
    await expect(collapser.warm([{ key: 'k', loader: () => 1 }], { tags: ['a'] })).resolves.toMatchObject({ failed: [{ error: alone }] });
    await expect(collapser.runMany([1], async () => new Map([[1, 1]]), { key: String, tags: ['a'] })).rejects.toEqual(alone);
    expect(() => createCollapser({ defaults: { tags: ['a'] } })).toThrow(alone);
    expect(await collapser.run('k', () => 1, { tags: [] })).toBe(1);
  });

  it.each([
    ['a string', 'shop', 'got a string of length 4'],
    ['an empty tag', [''], 'got an array'],
    ['a tag that is a number', [7], 'got an array'],
    ['a tag that is too long', ['x'.repeat(513)], 'got an array'],
    ['more than 32', Array.from({ length: 33 }, String), 'got an array'],
  ])('are refused when they are %s', async (_, tags, got) => {
    const wrong = { ttlMs: 1, tags: tags as readonly string[] };
    const collapser = createCollapser();
    await expect(collapser.run('k', () => 1, wrong)).rejects.toEqual(refused(got));
    await expect(collapser.run('k', () => 1, wrong)).rejects.toEqual(refused('expected options.tags to be an array of at most 32 tags'));
    await expect(collapser.run('k', () => 1, { ttlMs: 1, tags: () => wrong.tags })).rejects.toEqual(
      refused('expected options.tags to return'),
    );
  });

  it.each([[undefined], [''], [7], ['x'.repeat(513)]])('invalidateTag refuses %j', async (tag) => {
    await expect(createCollapser().invalidateTag(tag as string)).rejects.toEqual(
      refused('expected a tag: a string of 1 to 512 characters'),
    );
  });

  it('fail the load, for everybody who waits for it, when their function throws', async () => {
    const { replicas, clock, closeAll } = cluster(2);
    const options = {
      ttlMs: 1_000,
      tags: () => {
        throw new Error('no owner');
      },
    };
    const failures = replicas.map((replica) => failureOf(replica.run('k', () => 1, options)));
    await clock.advance(0);
    expect(await Promise.all(failures)).toEqual(['no owner', 'ERR_ONEFLIGHT_REMOTE_LOAD']);
    await closeAll();
  });

  it('are not asked of a key that the source does not have', async () => {
    const collapser = createCollapser();
    const found = await collapser.runMany([1, 2], async () => new Map([[1, { owner: 'a' }]]), {
      key: (id) => ['user', id],
      ...LONG,
      tags: ({ owner }) => [owner],
    });
    expect([...found.keys()]).toEqual([1]);
    await collapser.close();
  });

  it('never have the hash of a key', () => {
    const hashes = ['t', 's', 'a', 'o'].flatMap((first) => [hashKey('n', `${first}x`), hashTag('n', `${first}x`)]);
    expect(new Set(hashes).size).toBe(8);
  });
});

describe('the steps of invalidateTag in a cluster', () => {
  const options = { ...LONG, tags: ['shop'] };

  async function storeMany(stage: Cluster, count: number): Promise<void> {
    for (let key = 0; key < count; key++) await get(stage, key % 2, 'old', `k${key}`);
  }

  /** What a replica answers with; it would load `value`. */
  function get({ replicas, clock }: Cluster, replica: number, value: unknown, key = 'k', asked: RunOptions = options) {
    return done(
      clock,
      replicas[replica]?.run(key, () => value, asked),
    );
  }

  async function done<T>(clock: ManualClock, call: Promise<T> | undefined): Promise<T | undefined> {
    await clock.advance(0);
    return call;
  }

  it('a load with tags costs three round trips more, a read of what it stored none', async () => {
    const stage = cluster(2);
    const { hub, closeAll } = stage;
    hub.operations.length = 0;
    await get(stage, 0, 1, 'k', { ...options, tags: ['a', 'b'] });
    expect(hub.operations.map(({ op }) => op)).toEqual(['claim', 'tag', 'tag', 'tag', 'settle']);
    hub.operations.length = 0;
    await get(stage, 1, 1, 'k', { ...options, tags: ['a', 'b'] });
    expect(hub.operations.map(({ op }) => op)).toEqual(['claim']);
    await closeAll();
  });

  it('a replica that dies half way through loses no key: the next invalidation of the tag finds those that are left', async () => {
    const stage = cluster(3);
    const { replicas, coordinators, clock, network, hub, closeAll } = stage;
    await storeMany(stage, 9);
    network.hold(legs(2, 'reply', 'invalidate'));
    void replicas[2]?.invalidateTag('shop').catch(() => {});
    await clock.advance(0);
    coordinators[2]?.crash();
    expect(hub.keys().filter(({ table }) => table === 'V').length).toBe(5);
    await done(clock, replicas[0]?.invalidateTag('shop'));
    expect(hub.keys().filter(({ table }) => table === 'V')).toEqual([]);
    await closeAll();
  });

  it('one that fails holds on its own replica: the next flight there finishes it before it claims', async () => {
    const stage = cluster(2);
    const { replicas, hub, clock, closeAll } = stage;
    await storeMany(stage, 2);
    hub.outage(true);
    const failed = failureOf(replicas[0]?.invalidateTag('shop'));
    await clock.advance(0);
    expect(await failed).toBe('ERR_ONEFLIGHT_COORDINATOR');
    expect(await get(stage, 0, 'degraded', 'k0')).toBe('degraded');
    hub.outage(false);
    await clock.advance(100);
    expect(await get(stage, 0, 'new', 'k0')).toBe('new');
    expect(await get(stage, 1, 'new', 'k1')).toBe('new');
    await closeAll();
  });

  it('a load that began before is not stored, even when the news of the invalidation was lost', async () => {
    const stage = cluster(2);
    const { replicas, clock, network, closeAll } = stage;
    const load = manualLoader();
    network.lose(legs(0, 'message', 'tag-invalidated'));
    const before = replicas[0]?.run('k', load, { ...LONG, tags: () => ['shop'] });
    await clock.advance(0);
    await done(clock, replicas[1]?.invalidateTag('shop'));
    load.runs[0]?.end('old');
    await clock.advance(0);
    expect(await before).toBe('old');
    expect(await get(stage, 1, 'new')).toBe('new');
    await closeAll();
  });

  it('a load that could not learn when a tag was last invalidated is stored where none was lately', async () => {
    const stage = cluster(2);
    const { replicas, clock, network, closeAll } = stage;
    const stop = network.lose(legs(0, 'reply', 'tag'));
    const load = manualLoader();
    const call = replicas[0]?.run('k', load, options);
    await clock.advance(250);
    stop();
    load.runs[0]?.end('v1');
    await done(clock, call);
    expect(await get(stage, 1, 'v2')).toBe('v1');
    await closeAll();
  });

  it('an invalidation that comes between the note and the settle fences the settle', async () => {
    const stage = cluster(2);
    const { replicas, clock, network, closeAll } = stage;
    const load = manualLoader();
    const call = replicas[0]?.run('k', load, options);
    await clock.advance(0);
    const letSettle = network.hold(legs(0, 'request', 'settle'));
    load.runs[0]?.end('old');
    await clock.advance(0);
    await done(clock, replicas[1]?.invalidateTag('shop'));
    letSettle();
    await clock.advance(0);
    expect(await call).toBe('old');
    expect(await get(stage, 1, 'new')).toBe('new');
    await closeAll();
  });

  it('closing a replica while it asks for the time leads to no load', async () => {
    const stage = cluster(1);
    const { replicas, clock, network, closeAll } = stage;
    network.hold(legs(0, 'reply', 'tag'));
    const load = manualLoader();
    const call = failureOf(replicas[0]?.run('k', load, options));
    await clock.advance(0);
    const closed = replicas[0]?.close({ drainMs: 0 });
    await clock.advance(1_000);
    expect(await call).toBe('ERR_ONEFLIGHT_CLOSED');
    await closed;
    expect(load.runs).toHaveLength(0);
    await closeAll();
  });
});
