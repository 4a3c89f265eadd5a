import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type Loader, type WarmProgress } from '../../src/index.js';
import { cluster, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster {
  current = cluster(...args);
  return current;
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) expect(current.clock.pending, 'timers left after close').toBe(0);
  current = undefined;
});

const entries = <T>(count: number, loader: Loader<T>) => Array.from({ length: count }, (_, id) => ({ key: ['match', id], loader }));

describe('warm', () => {
  it('loads each key once, and says so', async () => {
    const loaded: unknown[] = [];
    const collapser = createCollapser({ random: () => 0.5 });
    const told: WarmProgress[] = [];
    const report = await collapser.warm(
      entries(4, ({ key }) => void loaded.push(key)),
      { concurrency: 1, onProgress: (progress) => void told.push(progress) },
    );
    expect(report).toEqual({ loaded: 4, shared: 0, failed: [], skipped: 0, durationMs: expect.any(Number) });
    expect(loaded, 'each replica begins at a place of its own').toEqual([
      ['match', 2],
      ['match', 3],
      ['match', 0],
      ['match', 1],
    ]);
    expect(told).toEqual([1, 2, 3, 4].map((done) => ({ done, failed: 0, total: 4 })));
  });

  it('waits for as many keys at the same time as concurrency says, 4 by default', async () => {
    const { replicas, settleDown } = start(1);
    const load = manualLoader();
    const warming = replicas[0]?.warm(entries(6, load));
    await settleDown();
    expect(load.runs).toHaveLength(4);
    load.runs[0]?.end('v');
    await settleDown();
    expect(load.runs).toHaveLength(5);
    for (let run = 1; run < 6; run++) {
      load.runs[run]?.end('v');
      await settleDown();
    }
    expect(await warming).toMatchObject({ loaded: 6 });
  });

  it('loads each key once in the whole cluster when replicas that begin at different places warm it together', async () => {
    const loaded: unknown[] = [];
    let drawn = 0;
    const { replicas, clock } = start(4, {}, { random: () => (drawn++ % 7) / 7 });
    const load: Loader<number> = async ({ key }) => {
      loaded.push(key);
      await new Promise<void>((resolve) => void clock.setTimer(resolve, 10));
      return 1;
    };
    const warmings = replicas.map((replica) => replica.warm(entries(40, load), { ttlMs: 60_000, concurrency: 3 }));
    await clock.advance(2_000);
    const reports = await Promise.all(warmings);
    expect(loaded).toHaveLength(40);
    expect(new Set(loaded.map(String)).size).toBe(40);
    expect(reports.map(({ loaded: here, shared }) => here + shared)).toEqual([40, 40, 40, 40]);
    expect(reports.reduce((sum, report) => sum + report.loaded, 0)).toBe(40);
  });

  it('collects failures by key and goes on', async () => {
    const collapser = createCollapser({ random: () => 0.9 });
    const gone = new Error('gone');
    const report = await collapser.warm([
      { key: 'a', loader: () => 1 },
      { key: 'b', loader: () => Promise.reject(gone) },
      { key: 'c', loader: () => 3 },
      { key: 'd', loader: () => Promise.reject(gone) },
    ]);
    const failed = [
      { index: 1, key: 'b', error: gone },
      { index: 3, key: 'd', error: gone },
    ];
    expect(report, 'in the order of the list, whatever place it began at').toMatchObject({ loaded: 2, shared: 0, failed, skipped: 0 });
  });

  it('goes on when the coordinator is away: each replica then loads all keys', async () => {
    const { replicas, hub, settleDown } = start(2);
    hub.outage(true);
    const warmings = replicas.map((replica) => replica.warm(entries(3, () => 1)));
    await settleDown();
    expect(await Promise.all(warmings)).toMatchObject([{ loaded: 3 }, { loaded: 3 }]);
    hub.outage(false);
  });

  it('takes over the keys of a replica that dies in the middle', async () => {
    const { replicas, coordinators, clock, settleDown } = start(2);
    const load = manualLoader();
    void replicas[0]?.warm(entries(3, load)).catch(() => undefined);
    await settleDown();
    const warming = replicas[1]?.warm(entries(3, load));
    await settleDown();
    coordinators[0]?.crash();
    await clock.advance(500);
    expect(load.runs).toHaveLength(6);
    for (const run of load.runs.slice(3)) run.end('v');
    await settleDown();
    expect(await warming).toMatchObject({ loaded: 3, failed: [] });
  });

  it('resolves with what was done when its signal aborts', async () => {
    const { replicas, settleDown, clock } = start(1);
    const load = manualLoader();
    const stops = new AbortController();
    const warming = replicas[0]?.warm(entries(5, load), { concurrency: 2, signal: stops.signal });
    await settleDown();
    load.runs[0]?.end('v');
    await settleDown();
    stops.abort();
    await clock.advance(0);
    expect(await warming).toMatchObject({ loaded: 1, shared: 0, failed: [], skipped: 4 });
    expect(replicas[0]?.stats()).toMatchObject({ flights: 0, waiters: 0 });
  });

  it('is done at once with nothing to do', async () => {
    expect(await createCollapser().warm([])).toEqual({ loaded: 0, shared: 0, failed: [], skipped: 0, durationMs: expect.any(Number) });
  });

  it('rejects with what onProgress throws, and begins no further key', async () => {
    const load = manualLoader();
    const bug = new Error('a bug');
    const warming = createCollapser({ random: () => 0 }).warm(entries(9, load), {
      concurrency: 2,
      onProgress({ done }) {
        if (done === 1) throw bug;
      },
    });
    load.runs[0]?.end('v');
    await expect(warming).rejects.toBe(bug);
    load.runs[1]?.end('v');
    await new Promise((resolve) => setImmediate(resolve));
    expect(load.runs).toHaveLength(2);
  });

  it.each([
    ['entries that are none', 5, {}, 'expected entries to be an iterable of { key, loader }, got the number 5'],
    ['an entry that is none', ['k'], {}, 'expected entries[0] to be { key, loader }, got a string of length 1'],
    [
      'an entry without a loader',
      [{ key: 'k' }],
      {},
      'expected a loader: a function that returns the value or a promise of it, got undefined',
    ],
    ['an entry without a key', [{ loader: () => 1 }], {}, 'expected a key: a non-empty string'],
    ['a concurrency of 0', [], { concurrency: 0 }, 'expected options.concurrency to be a whole number of at least 1, got the number 0'],
    ['an unknown option', [], { concurency: 1 }, "got the unknown option 'concurency'; did you mean 'concurrency'?"],
    [
      'an onProgress that is no function',
      [],
      { onProgress: 1 },
      'expected options.onProgress to be a function of the progress, got the number 1',
    ],
  ])('refuses %s', async (_, list, options, message) => {
    const warming = createCollapser().warm(list as never, options as never);
    await expect(warming).rejects.toThrow(TypeError);
    await expect(warming).rejects.toThrow(message);
  });

  it('refuses to begin once the collapser is closed', async () => {
    const collapser = createCollapser();
    await collapser.close();
    await expect(collapser.warm([])).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' });
  });
});
