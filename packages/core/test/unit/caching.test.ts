import { describe, expect, it } from 'vitest';
import { createCollapser, type Collapser, type FlightResult, type Loader, type RunOptions } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

/** The same promises hold in one process and in a cluster; in a cluster the calls come from different replicas in turn. */
interface Stage {
  readonly clock: ManualClock;
  readonly replicas: readonly [Collapser, ...Collapser[]];
  /** One replica after the other. */
  next(): Collapser;
  close(): Promise<void>;
}

function processStage(random: () => number): Stage {
  const clock = new ManualClock();
  const collapser = createCollapser({ clock, random });
  return { clock, replicas: [collapser], next: () => collapser, close: () => collapser.close() };
}

function clusterStage(random: () => number): Stage {
  const { clock, replicas, closeAll } = cluster(3, {}, { random });
  const [first, ...others] = replicas;
  if (first === undefined) throw new Error('no replica');
  let turn = 0;
  return {
    clock,
    replicas: [first, ...others],
    next: () => replicas[turn++ % replicas.length] ?? first,
    async close() {
      await closeAll();
    },
  };
}

describe.each([
  ['in one process', processStage],
  ['across replicas', clusterStage],
])('a stored outcome %s', (_, makeStage) => {
  async function withStage(use: (stage: Stage) => Promise<void>): Promise<void> {
    // With this constant in place of chance, a value is refreshed when less than its load's own time is left.
    const stage = makeStage(() => 1 - 1 / Math.E);
    await use(stage);
    await stage.close();
    expect(stage.clock.pending, 'timers left').toBe(0);
  }

  async function ask(stage: Stage, loader: Loader<unknown>, options: RunOptions): Promise<string> {
    const call = stage.next().flight('k', loader, options);
    const told = call.then(
      ({ source, value, ageMs }: FlightResult<unknown>) => `${source} ${String(value)} ${ageMs}`,
      (error: Error) => `error ${error.message}`,
    );
    await stage.clock.advance(0);
    return told;
  }

  it('answers calls for ttlMs after it settled, and no longer', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load = () => ++loads;
      expect(await ask(stage, load, { ttlMs: 1_000 })).toBe('leader 1 0');
      await stage.clock.advance(999);
      expect(await ask(stage, load, { ttlMs: 1_000 })).toBe('cache 1 999');
      await stage.clock.advance(1);
      expect(await ask(stage, load, { ttlMs: 1_000 })).toBe('leader 2 0');
    }));

  it('is never given to a call that did not ask for one, nor one older than the call accepts', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load = () => ++loads;
      await ask(stage, load, { ttlMs: 1_000 });
      await stage.clock.advance(500);
      expect(await ask(stage, load, {})).toBe('leader 2 0');
      expect(await ask(stage, load, { ttlMs: 400 })).toBe('leader 3 0');
      expect(await ask(stage, load, { ttlMs: 1_000 })).toBe('cache 3 0');
    }));

  it('lingers, errors too, for lingerMs', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load = () => {
        loads++;
        if (loads === 1) throw new Error('failed');
        return loads;
      };
      expect(await ask(stage, load, { lingerMs: 50 })).toBe('error failed');
      await stage.clock.advance(49);
      expect(await ask(stage, load, { lingerMs: 50 })).toBe('error failed');
      await stage.clock.advance(1);
      expect(await ask(stage, load, { lingerMs: 50 })).toBe('leader 2 0');
      await stage.clock.advance(20);
      expect(await ask(stage, load, { lingerMs: 50 })).toBe('linger 2 20');
      expect(loads).toBe(2);
    }));

  it('that is an error answers for negativeTtlMs, and only then', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load = () => {
        loads++;
        throw new Error(`failure ${loads}`);
      };
      expect(await ask(stage, load, { ttlMs: 1_000 })).toBe('error failure 1');
      expect(await ask(stage, load, { ttlMs: 1_000, negativeTtlMs: 100 })).toBe('error failure 2');
      await stage.clock.advance(99);
      expect(await ask(stage, load, { ttlMs: 1_000, negativeTtlMs: 100 })).toBe('error failure 2');
      await stage.clock.advance(1);
      expect(await ask(stage, load, { ttlMs: 1_000, negativeTtlMs: 100 })).toBe('error failure 3');
    }));

  it('that is stale answers at once while one load refreshes it, on whichever replica it is asked for', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 100, staleWhileRevalidateMs: 1_000 };
      const load = manualLoader();
      const first = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      load.runs[0]?.end('v1');
      await first;
      await stage.clock.advance(500);
      const answers: string[] = [];
      for (let call = 0; call < 9; call++) answers.push(await ask(stage, load, options));
      expect(answers).toEqual(Array(9).fill('stale v1 500'));
      expect(load.runs).toHaveLength(2);
      load.runs[1]?.end('v2');
      await stage.clock.advance(0);
      expect(await ask(stage, load, options)).toBe('cache v2 0');
    }));

  it('that is stale stays when its refresh fails, until its bound', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 100, staleWhileRevalidateMs: 1_000 };
      let loads = 0;
      const load = () => {
        loads++;
        if (loads > 1) throw new Error(`failure ${loads}`);
        return 'v1';
      };
      await ask(stage, load, options);
      const answers: string[] = [];
      for (const laterMs of [200, 200, 699]) {
        await stage.clock.advance(laterMs);
        answers.push(await ask(stage, load, options));
      }
      expect(answers).toEqual(['stale v1 200', 'stale v1 400', 'stale v1 1099']);
      await stage.clock.advance(1);
      expect(await ask(stage, load, options)).toBe('error failure 5');
      expect(loads).toBe(5);
    }));

  it('whose refresh fails with an error that is not shared is loaded by one who waits, and answers those who take it meanwhile', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 100, staleWhileRevalidateMs: 1_000, shareErrors: false };
      const [refresh, own] = [manualLoader(), manualLoader()];
      await ask(stage, () => 'v1', options);
      await stage.clock.advance(500);
      const replica = stage.next();
      await replica.run('k', refresh, options);
      await stage.clock.advance(0);
      const waiting = replica.run('k', own, { ttlMs: 100, shareErrors: false });
      refresh.runs[0]?.fail(new Error('failure'));
      await stage.clock.advance(0);
      expect([refresh.runs.length, own.runs.length]).toEqual([1, 1]);
      expect(await replica.run('k', own, options)).toBe('v1');
      own.runs[0]?.end('v2');
      await stage.clock.advance(0);
      expect(await waiting).toBe('v2');
    }));

  it('answers instead of an error for staleIfErrorMs', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 100, staleIfErrorMs: 1_000 };
      let loads = 0;
      const load = () => {
        loads++;
        if (loads > 1) throw new Error(`failure ${loads}`);
        return 'v1';
      };
      await ask(stage, load, options);
      await stage.clock.advance(600);
      expect(await ask(stage, load, options)).toBe('stale v1 600');
      expect(await ask(stage, load, { ttlMs: 100 })).toBe('error failure 3');
      await stage.clock.advance(600);
      expect(await ask(stage, load, options)).toBe('error failure 4');
    }));

  it('is refreshed early by one of its readers, the more likely the longer its load', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 1_000, earlyRefresh: true };
      const load = manualLoader();
      const first = stage.next().run('k', load, options);
      await stage.clock.advance(300);
      load.runs[0]?.end('v1');
      await first;
      await stage.clock.advance(699);
      expect(await ask(stage, load, options)).toBe('cache v1 699');
      expect(load.runs).toHaveLength(1);
      await stage.clock.advance(1);
      expect(await ask(stage, load, options)).toBe('cache v1 700');
      expect(await ask(stage, load, options)).toBe('cache v1 700');
      expect(load.runs).toHaveLength(2);
      load.runs[1]?.end('v2');
      await stage.clock.advance(0);
      expect(await ask(stage, load, options)).toBe('cache v2 0');
    }));

  it('is gone after an invalidation, and no load from before is stored after it', () =>
    withStage(async (stage) => {
      const options = { ttlMs: 10_000 };
      const load = manualLoader();
      const before = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      const invalidated = stage.next().invalidate('k');
      await stage.clock.advance(0);
      await invalidated;
      load.runs[0]?.end('old');
      await stage.clock.advance(0);
      expect(await before).toBe('old');
      const after = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      expect(load.runs).toHaveLength(2);
      load.runs[1]?.end('new');
      await stage.clock.advance(0);
      expect(await after).toBe('new');
      expect(await ask(stage, load, options)).toBe('cache new 0');
      const again = stage.next().invalidate('k');
      await stage.clock.advance(0);
      await again;
      const last = stage.next().run('k', load, options);
      await stage.clock.advance(0);
      expect(load.runs).toHaveLength(3);
      load.runs[2]?.end('newer');
      await last;
    }));

  it('is used for no longer than its load said, whatever its readers accept, and for no longer than they accept', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load: Loader<unknown> = ({ keep }) => {
        keep({ ttlMs: 100, staleIfErrorMs: 200 });
        if (++loads % 2 === 0) throw new Error(`failure ${loads}`);
        return loads;
      };
      const open = { ttlMs: 10_000, staleIfErrorMs: 10_000 };
      expect(await ask(stage, load, open)).toBe('leader 1 0');
      await stage.clock.advance(99);
      expect(await ask(stage, load, open)).toBe('cache 1 99');
      expect(await ask(stage, load, { ttlMs: 99 })).toBe('error failure 2');
      await stage.clock.advance(1);
      expect(await ask(stage, load, { ttlMs: 10_000 })).toBe('leader 3 0');
      await stage.clock.advance(299);
      expect(await ask(stage, load, open)).toBe('stale 3 299');
      loads++;
      await stage.clock.advance(1);
      expect(await ask(stage, load, open)).toBe('error failure 6');
    }));

  it('is stored because its load said so, also where the caller that led asked for nothing', () =>
    withStage(async (stage) => {
      expect(await ask(stage, ({ keep }) => (keep({ ttlMs: 100 }), 'kept'), {})).toBe('leader kept 0');
      expect(await ask(stage, () => 'new', { ttlMs: 10_000 })).toBe('cache kept 0');
    }));

  it('is not stored where its load said so, whatever the caller asked for', () =>
    withStage(async (stage) => {
      let loads = 0;
      const load: Loader<unknown> = ({ keep }) => (keep({ ttlMs: 0 }), ++loads);
      expect([await ask(stage, load, { ttlMs: 1_000 }), await ask(stage, load, { ttlMs: 1_000 })]).toEqual(['leader 1 0', 'leader 2 0']);
    }));

  it('counts the age that its load gave it', () =>
    withStage(async (stage) => {
      const load: Loader<unknown> = ({ keep }) => (keep({ ttlMs: 100, ageMs: 60 }), 'aged');
      await ask(stage, load, { ttlMs: 10_000 });
      await stage.clock.advance(39);
      expect(await ask(stage, load, { ttlMs: 10_000 })).toBe('cache aged 99');
      await stage.clock.advance(1);
      expect(await ask(stage, load, { ttlMs: 10_000 })).toBe('leader aged 0');
    }));

  it('is seen by the load of a new one, which can find that it still holds', () =>
    withStage(async (stage) => {
      const seen: unknown[] = [];
      const load: Loader<unknown> = ({ previous, keep }) => {
        seen.push(previous && [previous.value, previous.ageMs, previous.lifetimes]);
        keep({ ttlMs: 100, revalidateMs: 1_000 });
        return previous?.value ?? 'first';
      };
      const options = { ttlMs: 10_000, revalidateMs: 10_000 };
      await ask(stage, load, options);
      await stage.clock.advance(1_000);
      expect(await ask(stage, load, options)).toBe('leader first 0');
      expect(await ask(stage, load, options)).toBe('cache first 0');
      expect(await ask(stage, load, { revalidateMs: 1_000 })).toBe('leader first 0');
      await stage.clock.advance(1_100);
      expect(await ask(stage, load, options)).toBe('leader first 0');
      const own = { ttlMs: 100, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 };
      expect(seen).toEqual([undefined, ['first', 1_000, own], ['first', 0, own], undefined]);
    }));

  it('tells its load whether it only refreshes what its caller was answered with', () =>
    withStage(async (stage) => {
      const seen: boolean[] = [];
      const load: Loader<unknown> = ({ isRefresh }) => seen.push(isRefresh);
      const options = { ttlMs: 100, staleWhileRevalidateMs: 1_000 };
      await ask(stage, load, options);
      await stage.clock.advance(200);
      expect(await ask(stage, load, options)).toBe('stale 1 200');
      expect(await ask(stage, load, {})).toBe('leader 3 0');
      expect(seen).toEqual([false, true, false]);
    }));

  it('can be looked at whatever its age, without a load', () =>
    withStage(async (stage) => {
      const look = async (): Promise<unknown> => {
        const found = stage.next().peek('k');
        await stage.clock.advance(0);
        return found;
      };
      expect(await look()).toBeUndefined();
      await ask(stage, ({ keep }) => (keep({ ttlMs: 10, staleIfErrorMs: 1_000 }), 'v'), {});
      await stage.clock.advance(500);
      expect(await look()).toEqual({ value: 'v', ageMs: 500, lifetimes: { ttlMs: 10, staleWhileRevalidateMs: 0, staleIfErrorMs: 1_000 } });
      await Promise.all([stage.next().invalidate('k'), stage.clock.advance(0)]);
      expect(await look()).toBeUndefined();
    }));

  it('refuses lifetimes that are none', () =>
    withStage(async (stage) => {
      // @ts-expect-error a name that is not known
      const typo: Loader<unknown> = ({ keep }) => keep({ ttlMs: 1, staleMs: 1 });
      expect(await ask(stage, typo, {})).toMatch(/^error .*staleMs/);
      // @ts-expect-error nothing that says how long
      expect(await ask(stage, ({ keep }) => keep({}), {})).toMatch(/^error .*lifetimes\.ttlMs/);
    }));

  it('serves a caller that wants it stale and one that does not, of the same flight, each as it asked', () =>
    withStage(async (stage) => {
      const load = manualLoader();
      const [replica] = stage.replicas;
      const first = replica.run('k', load, { ttlMs: 100, staleWhileRevalidateMs: 1_000 });
      await stage.clock.advance(0);
      load.runs[0]?.end('v1');
      await first;
      await stage.clock.advance(500);
      const calls = [
        replica.flight('k', load, { ttlMs: 100, staleWhileRevalidateMs: 1_000 }),
        replica.flight('k', load, { ttlMs: 100 }),
        replica.flight('k', load),
        replica.flight('k', load, { ttlMs: 1_000 }),
      ];
      await stage.clock.advance(0);
      expect(load.runs).toHaveLength(2);
      load.runs[1]?.end('v2');
      await stage.clock.advance(0);
      const answers = await Promise.all(calls);
      expect(answers.map(({ value }) => value)).toEqual(['v1', 'v2', 'v2', 'v1']);
    }));
});

describe('stored outcomes of one process', () => {
  it('are bounded in number: the least recently used go first', async () => {
    const collapser = createCollapser({ limits: { valuesMax: 2 } });
    let loads = 0;
    const get = (key: string) => collapser.run(key, () => ++loads, { ttlMs: 60_000 });
    expect([await get('a'), await get('b'), await get('a'), await get('c'), await get('a'), await get('b')]).toEqual([1, 2, 1, 3, 1, 4]);
  });
});

describe('stored outcomes of a cluster', () => {
  it('cost one round trip to read', async () => {
    const { replicas, hub, clock, closeAll } = cluster(2);
    await Promise.all([replicas[0]?.run('k', () => 1, { ttlMs: 1_000 }), clock.advance(0)]);
    await clock.advance(0);
    hub.operations.length = 0;
    await Promise.all([replicas[1]?.run('k', () => 2, { ttlMs: 1_000 }), clock.advance(0)]);
    expect(hub.operations.map(({ op }) => op)).toEqual(['claim']);
    await closeAll();
  });

  it('cost one round trip to look at, and are not there while the coordinator is away', async () => {
    const { replicas, hub, clock, closeAll } = cluster(2);
    await Promise.all([replicas[0]?.run('k', () => 1, { ttlMs: 1_000 }), clock.advance(0)]);
    await clock.advance(0);
    hub.operations.length = 0;
    const [found] = await Promise.all([replicas[1]?.peek('k'), clock.advance(0)]);
    expect([found?.value, hub.operations.map(({ op }) => op)]).toEqual([1, ['peek']]);
    hub.outage(true);
    const [lost] = await Promise.all([replicas[1]?.peek('k'), clock.advance(0)]);
    expect(lost).toBeUndefined();
    await closeAll();
  });

  it('are neither read nor written while the coordinator is away', async () => {
    const { replicas, hub, clock, closeAll } = cluster(1);
    const get = async () => {
      const call = replicas[0]?.flight('k', () => 1, { ttlMs: 60_000 });
      await clock.advance(0);
      return (await call)?.source;
    };
    hub.outage(true);
    expect([await get(), await get()]).toEqual(['degraded', 'degraded']);
    hub.outage(false);
    await clock.advance(100);
    expect([await get(), await get()]).toEqual(['leader', 'cache']);
    await closeAll();
  });

  it('answer instead of an error only those who accept that, each with its age, when another replica loads in vain', async () => {
    const { replicas, clock, closeAll } = cluster(3);
    const options = { ttlMs: 100, staleIfErrorMs: 1_000 };
    await Promise.all([replicas[0]?.run('k', () => 'v1', options), clock.advance(0)]);
    await clock.advance(500);
    const load = manualLoader();
    const calls = replicas.map((replica, index) => replica.flight('k', load, index === 2 ? {} : options));
    const ends = Promise.allSettled(calls);
    await clock.advance(0);
    load.runs[0]?.fail(new Error('away'));
    await clock.advance(0);
    expect(load.runs).toHaveLength(1);
    const told = (await ends).map((end) =>
      end.status === 'fulfilled' ? `${end.value.source} ${end.value.value} ${end.value.ageMs}` : end.reason.message,
    );
    expect(told).toEqual(['stale v1 500', 'stale v1 500', 'away']);
    await closeAll();
  });

  it('answer instead of an error also after a takeover', async () => {
    const { replicas, coordinators, clock, closeAll } = cluster(2);
    const options = { ttlMs: 100, staleIfErrorMs: 60_000 };
    await Promise.all([replicas[1]?.run('k', () => 'v1', options), clock.advance(0)]);
    await clock.advance(500);
    const load = manualLoader();
    void replicas[0]?.run('k', load, options).catch(() => undefined);
    await clock.advance(0);
    const follows = replicas[1]?.flight('k', load, options);
    await clock.advance(0);
    coordinators[0]?.crash();
    await clock.advance(500);
    load.runs[1]?.fail(new Error('away'));
    await clock.advance(0);
    expect(await follows).toMatchObject({ source: 'stale', value: 'v1' });
    await closeAll();
  });

  it('survive the crash of the replica that was refreshing them: another one refreshes', async () => {
    const { replicas, coordinators, clock, closeAll } = cluster(2);
    const options = { ttlMs: 100, staleWhileRevalidateMs: 60_000 };
    const load = manualLoader();
    const first = replicas[0]?.run('k', load, options);
    await clock.advance(0);
    load.runs[0]?.end('v1');
    await first;
    await clock.advance(200);
    await Promise.all([replicas[0]?.run('k', load, options), clock.advance(0)]);
    expect(load.runs).toHaveLength(2);
    coordinators[0]?.crash();
    await clock.advance(3_001);
    const stale = replicas[1]?.flight('k', load, options);
    await clock.advance(0);
    expect(await stale).toMatchObject({ source: 'stale', value: 'v1' });
    expect(load.runs).toHaveLength(3);
    load.runs[2]?.end('v2');
    await clock.advance(0);
    const fresh = replicas[1]?.flight('k', load, options);
    await clock.advance(0);
    expect(await fresh).toMatchObject({ source: 'cache', value: 'v2' });
    await closeAll();
  });
});
