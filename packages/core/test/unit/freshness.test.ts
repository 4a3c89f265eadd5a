import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type Collapser, type RunOptions } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader, type Run } from '../support/loads.js';

const STRICT: RunOptions<string> = { freshness: 'strict' };
const CONFIRMED: RunOptions<string> = { freshness: 'confirmed' };

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster {
  current = cluster(...args);
  return current;
}

function replica(at: number): Collapser {
  const found = current?.replicas[at];
  if (found === undefined) throw new Error(`no replica ${at}`);
  return found;
}

function codeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error: unknown) => Reflect.get(Object(error), 'code'),
  );
}

/** A load ends, and all that follows from it happens; no time passes. */
async function end(run: Run<string> | undefined, value: string): Promise<void> {
  run?.end(value);
  await current?.settleDown();
}

function operations(): string[] {
  return current?.hub.operations.splice(0).map(({ op }) => op) ?? [];
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) expect(current.clock.pending, 'timers left after close').toBe(0);
  current = undefined;
});

describe('strict calls', () => {
  it('of one moment share a load, in one process by one claim', async () => {
    const { settleDown } = start(2);
    const load = manualLoader();
    const calls = [0, 0, 0, 1].map((at) => replica(at).run('k', load, STRICT));
    await settleDown();
    expect(load.runs).toHaveLength(1);
    await end(load.runs[0], 'first');
    // The replica that came second found a flight that began before its call, as far as it could know.
    expect(load.runs).toHaveLength(2);
    await end(load.runs[1], 'second');
    expect(await fates(calls)).toEqual(['value first', 'value first', 'value first', 'value second']);
    expect(operations()).toEqual(['claim', 'claim', 'settle', 'claim', 'settle']);
  });

  it('that come while a load runs share the next one, on whichever replica they are', async () => {
    const { settleDown } = start(3);
    const load = manualLoader();
    const first = replica(0).run('k', load);
    await settleDown();
    const later = [0, 1, 2, 0, 1, 2].map((at) => replica(at).flight('k', load, STRICT));
    await settleDown();
    expect(load.runs).toHaveLength(1);
    await end(load.runs[0], 'before');
    expect(load.runs).toHaveLength(2);
    expect(await fates([first, ...later])).toEqual(['value before', ...Array.from({ length: 6 }, () => 'pending')]);
    await end(load.runs[1], 'after');
    const results = await Promise.all(later);
    expect(results.map(({ value }) => value)).toEqual(Array(6).fill('after'));
    expect(results.map(({ source }) => source).toSorted()).toEqual(['leader', 'local', 'local', 'local', 'remote', 'remote']);
  });

  it('that wait behind a load of their own process claim once, after its settle', async () => {
    const { settleDown } = start(1);
    const load = manualLoader();
    void replica(0).run('k', load);
    await settleDown();
    const waiting: Promise<string>[] = [];
    for (let turn = 0; turn < 5; turn++) {
      waiting.push(replica(0).run('k', load, STRICT));
      await settleDown();
    }
    expect(operations()).toEqual(['claim']);
    await end(load.runs[0], 'before');
    expect(operations()).toEqual(['settle', 'claim']);
    await end(load.runs[1], 'after');
    expect(await fates(waiting)).toEqual(Array(5).fill('value after'));
  });

  it('come along with a load that starts in their process while they wait, whoever it is for', async () => {
    const { network, settleDown } = start(1);
    const load = manualLoader();
    const release = network.hold(legs(0, 'reply', 'claim'));
    const joined = replica(0).run('k', load);
    const strict = replica(0).run('k', load, STRICT);
    await settleDown();
    expect(load.runs).toHaveLength(0);
    release();
    await settleDown();
    const late = replica(0).run('k', load, STRICT);
    await end(load.runs[0], 'first');
    expect(await fates([joined, strict, late])).toEqual(['value first', 'value first', 'pending']);
    await end(load.runs[1], 'second');
    expect(await late).toBe('second');
  });

  it('do not keep others from the flight that runs, and are joined once they load', async () => {
    const { settleDown } = start(2);
    const load = manualLoader();
    const first = replica(0).run('k', load);
    await settleDown();
    const strict = replica(1).run('k', load, STRICT);
    await settleDown();
    const plain = replica(1).run('k', load);
    await settleDown();
    await end(load.runs[0], 'before');
    expect(await fates([first, plain, strict])).toEqual(['value before', 'value before', 'pending']);
    const joins = replica(1).run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    await end(load.runs[1], 'after');
    expect(await fates([strict, joins])).toEqual(['value after', 'value after']);
  });

  it('leave nothing behind when they give up before their flight has asked for anything', async () => {
    const { clock, settleDown } = start(1);
    const load = manualLoader();
    const first = replica(0).run('k', load);
    await settleDown();
    const ended = codeOf(replica(0).run('k', load, { ...STRICT, timeoutMs: 20 }));
    await clock.advance(25);
    expect(replica(0).stats()).toMatchObject({ flights: 1, waiters: 1 });
    await end(load.runs[0], 'v');
    expect([await first, await ended, load.runs.length]).toEqual(['v', 'ERR_ONEFLIGHT_WAIT_TIMEOUT', 1]);
    expect(replica(0).stats()).toMatchObject({ flights: 0, waiters: 0 });
  });

  it('end with ClosedError when the collapser closes before their flight has taken off', async () => {
    const { clock, settleDown } = start(1);
    const load = manualLoader();
    const calls = [replica(0).run('k', load)];
    await settleDown();
    calls.push(replica(0).run('k', load, STRICT));
    const ends = Promise.allSettled(calls);
    await settleDown();
    const closed = replica(0).close({ drainMs: 10 });
    await clock.advance(2_000);
    await closed;
    expect((await ends).map((end) => end.status === 'rejected' && end.reason.code)).toEqual(Array(2).fill('ERR_ONEFLIGHT_CLOSED'));
  });

  it('take off at once when an invalidation frees the key while another load of their process runs', async () => {
    const { settleDown } = start(1);
    const load = manualLoader();
    const first = replica(0).run('k', load);
    await settleDown();
    const strict = replica(0).run('k', load, STRICT);
    await settleDown();
    await replica(0).invalidate('k');
    await settleDown();
    expect(load.runs).toHaveLength(2);
    await end(load.runs[1], 'after');
    expect(await fates([first, strict])).toEqual(['pending', 'value after']);
    load.runs[0]?.end('before');
    expect(await first).toBe('before');
  });

  it('commit in groups when the coordinator is out of reach', async () => {
    const { hub, settleDown } = start(2);
    hub.outage(true);
    const load = manualLoader();
    const first = replica(0).flight('k', load, STRICT);
    await settleDown();
    const later = [1, 2, 3].map(() => replica(0).flight('k', load, STRICT));
    await settleDown();
    expect(load.runs).toHaveLength(1);
    await end(load.runs[0], 'one');
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('two');
    const results = await Promise.all([first, ...later]);
    expect(results.map(({ value, source }) => `${value} ${source}`)).toEqual(['one degraded', 'two degraded', 'two local', 'two local']);
  });

  it('are answered after a takeover by a load that began after their call', async () => {
    const { coordinators, clock, settleDown } = start(3, { leaseMs: 1_000 });
    const load = manualLoader();
    void replica(0)
      .run('k', load)
      .catch(() => undefined);
    await settleDown();
    const strict = [1, 2].map((at) => replica(at).run('k', load, STRICT));
    await settleDown();
    coordinators[0]?.crash();
    await clock.advance(1_000);
    expect(load.runs).toHaveLength(2);
    await end(load.runs[1], 'after');
    expect(await fates(strict)).toEqual(['value after', 'value after']);
  });

  it('never read what is stored, and store it for others', async () => {
    const { settleDown } = start(2);
    let loads = 0;
    const load = async () => `value ${++loads}`;
    const call = async (options: RunOptions<string>) => {
      const result = replica(loads % 2).flight('k', load, { ttlMs: 10_000, ...options });
      await settleDown();
      return result.then(({ value, source }) => `${value} ${source}`);
    };
    expect(await call({})).toBe('value 1 leader');
    expect(await call({})).toBe('value 1 cache');
    expect(await call(STRICT)).toBe('value 2 leader');
    expect(await call({})).toBe('value 2 cache');
    expect(await call({ ...STRICT, staleWhileRevalidateMs: 1_000, staleIfErrorMs: 1_000 })).toBe('value 3 leader');
  });

  it('of a batch wait for what runs, and the rest of the batch does not wait for them', async () => {
    const { settleDown } = start(1);
    const load = manualLoader();
    const running = replica(0).run(['seat', 1], load);
    await settleDown();
    const batches: number[][] = [];
    const many = replica(0).runMany(
      [1, 2, 3],
      async (keys) => {
        batches.push([...keys]);
        return new Map(keys.map((key) => [key, `seat ${key}`]));
      },
      { key: (key) => ['seat', key], freshness: 'strict' },
    );
    await settleDown();
    expect(batches).toEqual([[2, 3]]);
    await end(load.runs[0], 'before');
    expect([await running, [...(await many).values()]]).toEqual(['before', ['seat 1', 'seat 2', 'seat 3']]);
    expect(batches).toEqual([[2, 3], [1]]);
  });

  it('over a limit load for themselves at once', async () => {
    const { settleDown } = start(1, {}, { limits: { waitersPerFlightMax: 2 } });
    const load = manualLoader();
    void replica(0).run('k', load);
    await settleDown();
    const strict = [1, 2, 3].map(() => replica(0).flight('k', load, STRICT));
    await settleDown();
    expect(load.runs).toHaveLength(2);
    for (const run of load.runs) run.end('v');
    await settleDown();
    await end(load.runs[2], 'v');
    expect((await Promise.all(strict)).map(({ source }) => source)).toEqual(['leader', 'local', 'bypass']);
  });
});

describe('strict calls without a coordinator', () => {
  it('share the next load when one runs, and never get one that began before them', async () => {
    const clock = new ManualClock();
    const collapser = createCollapser({ clock });
    const load = manualLoader();
    const first = collapser.run('k', load, STRICT);
    await clock.advance(0);
    const later = [1, 2, 3].map(() => collapser.run('k', load, STRICT));
    const joins = collapser.run('k', load);
    await clock.advance(0);
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('one');
    await clock.advance(0);
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('two');
    expect(await Promise.all([first, joins, ...later])).toEqual(['one', 'one', 'two', 'two', 'two']);
    await collapser.close();
  });

  it('read nothing that is stored', async () => {
    const collapser = createCollapser({ defaults: { ttlMs: 60_000 } });
    let loads = 0;
    const load = async () => ++loads;
    expect([await collapser.run('k', load), await collapser.run('k', load)]).toEqual([1, 1]);
    expect([await collapser.run('k', load, { freshness: 'strict' }), await collapser.run('k', load)]).toEqual([2, 2]);
    await collapser.close();
  });
});

describe('confirmed calls', () => {
  it('that join a flight of another replica are answered after one look at the floor, for all of them', async () => {
    const { settleDown } = start(2);
    const load = manualLoader();
    void replica(0).run('k', load);
    await settleDown();
    const inTime = replica(1).run('k', load, CONFIRMED);
    await settleDown();
    const late = [1, 2, 3].map(() => replica(1).flight('k', load, CONFIRMED));
    operations();
    await end(load.runs[0], 'v');
    expect(await inTime).toBe('v');
    expect((await Promise.all(late)).map(({ value, source }) => `${value} ${source}`)).toEqual(Array(3).fill('v local'));
    expect(operations()).toEqual(['settle', 'floor']);
  });

  it('cost nothing more where all came before the claim, or the load runs beside them', async () => {
    const { settleDown } = start(1);
    const load = manualLoader();
    const calls = [replica(0).run('k', load, CONFIRMED)];
    await settleDown();
    calls.push(replica(0).run('k', load, CONFIRMED));
    await end(load.runs[0], 'v');
    expect(await fates(calls)).toEqual(['value v', 'value v']);
    expect(operations()).toEqual(['claim', 'settle']);
  });

  it('get no load from before an invalidation of which their replica has not heard, where it follows and where it leads', async () => {
    for (const [behind, issuer] of [
      [1, 2],
      [0, 2],
    ] as const) {
      const { network, settleDown } = start(3);
      const load = manualLoader();
      const old = replica(0).run('k', load);
      await settleDown();
      if (behind !== 0) void replica(behind).run('k', load);
      await settleDown();
      network.lose(legs(behind, 'message', 'invalidated'));
      await replica(issuer).invalidate('k');
      const joins = replica(behind).run('k', load);
      const confirmed = replica(behind).run('k', load, CONFIRMED);
      await settleDown();
      await end(load.runs[0], 'old');
      expect(await fates([old, joins, confirmed])).toEqual(['value old', 'value old', 'pending']);
      expect(load.runs).toHaveLength(2);
      await end(load.runs[1], 'new');
      expect(await confirmed).toBe('new');
      await current?.closeAll();
    }
  });

  it('wait for the next flight where the floor cannot be read', async () => {
    const { network, clock, settleDown } = start(2);
    const load = manualLoader();
    void replica(0).run('k', load);
    await settleDown();
    void replica(1).run('k', load);
    await settleDown();
    const late = replica(1).run('k', load, CONFIRMED);
    await settleDown();
    network.lose(legs(1, 'reply', 'floor'));
    load.runs[0]?.end('old');
    await clock.advance(300);
    expect(load.runs).toHaveLength(2);
    await end(load.runs[1], 'new');
    expect(await late).toBe('new');
  });

  it('wait for the next load when the one they joined runs without the coordinator', async () => {
    const { hub, settleDown } = start(2);
    hub.outage(true);
    const load = manualLoader();
    const first = replica(0).run('k', load);
    await settleDown();
    const late = [1, 2].map(() => replica(0).run('k', load, CONFIRMED));
    await settleDown();
    await end(load.runs[0], 'one');
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('two');
    expect(await Promise.all([first, ...late])).toEqual(['one', 'two', 'two']);
  });

  it('read what is stored as the coordinator has it, also those who come while a claim is under way', async () => {
    const { network, settleDown } = start(1);
    let loads = 0;
    const load = async () => `value ${++loads}`;
    const options = { ...CONFIRMED, ttlMs: 10_000 };
    await Promise.all([replica(0).run('k', load, options), settleDown()]);
    const release = network.hold(legs(0, 'reply', 'claim'));
    const calls = [replica(0).flight('k', load, options), replica(0).flight('k', load, options)];
    await settleDown();
    release();
    await settleDown();
    expect((await Promise.all(calls)).map(({ value, source }) => `${value} ${source}`)).toEqual(['value 1 cache', 'value 1 cache']);
  });

  it('end by their own deadline while they wait for the floor', async () => {
    const { network, clock, settleDown } = start(2);
    const load = manualLoader();
    void replica(0).run('k', load);
    await settleDown();
    void replica(1).run('k', load);
    await settleDown();
    const ended = codeOf(replica(1).run('k', load, { ...CONFIRMED, timeoutMs: 60 }));
    await settleDown();
    network.lose(legs(1, 'reply', 'floor'));
    load.runs[0]?.end('v');
    await clock.advance(70);
    expect(await ended).toBe('ERR_ONEFLIGHT_WAIT_TIMEOUT');
    await clock.advance(300);
    expect(replica(1).stats()).toMatchObject({ flights: 0, waiters: 0 });
  });
});

describe('freshness', () => {
  it('of the defaults holds for each call, and once keeps to its period all the same', async () => {
    const collapser = createCollapser({ defaults: { freshness: 'strict' } });
    let effects = 0;
    const effect = () => void effects++;
    expect([await collapser.once('alert', effect, { ttlMs: 1_000 }), await collapser.once('alert', effect, { ttlMs: 1_000 })]).toEqual([
      'ran',
      'skipped',
    ]);
    await collapser.close();
  });

  it('is one of three words', async () => {
    const collapser = createCollapser();
    // @ts-expect-error -- a mistake that a user without types makes
    const failure = await collapser.run('k', () => 1, { freshness: 'fresh' }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: 'TypeError', code: 'ERR_ONEFLIGHT_OPTION' });
    expect(String(failure)).toContain("one of 'join', 'confirmed', 'strict'");
    await collapser.close();
  });
});
