import { AsyncLocalStorage } from 'node:async_hooks';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type Collapser } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster & { readonly r0: Collapser; readonly r1: Collapser } {
  current = cluster(...args);
  const [r0, r1 = r0] = current.replicas;
  if (r0 === undefined || r1 === undefined) throw new Error('no replica');
  return { ...current, r0, r1 };
}

function alone(options: Parameters<typeof createCollapser>[0] = {}) {
  const clock = new ManualClock();
  return { clock, collapser: createCollapser({ clock, ...options }) };
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) {
    expect(current.clock.pending, 'timers left after close').toBe(0);
    expect(current.replicas.map((replica) => replica.stats().watchers)).toEqual(current.replicas.map(() => 0));
  }
  current = undefined;
});

/** What an iteration yields, as it comes; the end is told as 'end' or the error. */
function read<T>(values: AsyncIterable<T>): unknown[] {
  const seen: unknown[] = [];
  const run = async (): Promise<void> => {
    for await (const value of values) seen.push(value);
    seen.push('end');
  };
  run().catch((error: unknown) => seen.push(error));
  return seen;
}

/** A database row that a test changes, and the times it was read. */
function row() {
  const reads: number[] = [];
  const state = { version: 1, reads, load: () => (reads.push(state.version), state.version) };
  return state;
}

describe('watch in one process', () => {
  it('yields the value, and a new one 50 ms after an invalidation', async () => {
    const { collapser, clock } = alone();
    const seats = row();
    const seen = read(collapser.watch('seats', seats.load));
    await clock.advance(1_000);
    expect(seen).toEqual([1]);
    seats.version = 2;
    await collapser.invalidate('seats');
    await clock.advance(49);
    expect(seen).toEqual([1]);
    await clock.advance(1);
    expect(seen).toEqual([1, 2]);
    await clock.advance(100_000);
    expect(seats.reads, 'nothing is polled').toEqual([1, 2]);
    await collapser.close();
    await clock.advance(0);
    expect(seen).toEqual([1, 2, 'end']);
    expect(clock.pending).toBe(0);
  });

  it('begins with the first next(): an iteration that never begins holds nothing', async () => {
    const { collapser } = alone();
    const seats = row();
    const values = collapser.watch('seats', seats.load);
    values[Symbol.asyncIterator]();
    expect([seats.reads, collapser.stats().watchers]).toEqual([[], 0]);
  });

  it('reloads once for all invalidations of a window, and counts the window from the first', async () => {
    const { collapser, clock } = alone();
    const seats = row();
    const seen = read(collapser.watch('seats', seats.load, { debounceMs: 200 }));
    await clock.advance(0);
    for (let change = 0; change < 10; change++) {
      seats.version++;
      await collapser.invalidate('seats');
      await clock.advance(20);
    }
    await clock.advance(0);
    expect([seen, seats.reads]).toEqual([
      [1, 11],
      [1, 11],
    ]);
    await collapser.close();
  });

  it('shares one reload among all watchers of a key, and tells watchers of other keys nothing', async () => {
    const { collapser, clock } = alone();
    const seats = row();
    const other = row();
    const seen = Array.from({ length: 20 }, () => read(collapser.watch('seats', seats.load)));
    const others = read(collapser.watch('other', other.load));
    await clock.advance(0);
    seats.version = 2;
    await collapser.invalidate('seats');
    await clock.advance(50);
    expect([seats.reads, seen]).toEqual([[1, 2], Array(20).fill([1, 2])]);
    expect([other.reads, others]).toEqual([[1], [1]]);
    await collapser.close();
  });

  it('shares one reload also among watchers whose windows differ', async () => {
    const { collapser, clock } = alone();
    const seats = row();
    const seen = [10, 50, 200].map((debounceMs) => read(collapser.watch('seats', seats.load, { debounceMs })));
    await clock.advance(0);
    seats.version = 2;
    await collapser.invalidate('seats');
    await clock.advance(200);
    expect([seats.reads, seen]).toEqual([[1, 2], Array(3).fill([1, 2])]);
    await collapser.close();
  });

  it('gives a slow reader the newest value only', async () => {
    const { collapser, clock } = alone();
    const seats = row();
    const values = collapser.watch('seats', seats.load)[Symbol.asyncIterator]();
    expect(await values.next()).toEqual({ done: false, value: 1 });
    for (seats.version = 2; seats.version < 6; seats.version++) {
      await collapser.invalidate('seats');
      await clock.advance(50);
    }
    expect(await values.next()).toEqual({ done: false, value: 5 });
    const next = values.next();
    expect(await fates([next])).toEqual(['pending']);
    await collapser.close();
    expect(await next).toEqual({ done: true, value: undefined });
  });

  it('never gives a value after an invalidation that was loaded before it, also where it waited for its reader', async () => {
    const { collapser, clock } = alone();
    const load = manualLoader();
    const values = collapser.watch('seats', load)[Symbol.asyncIterator]();
    const first = values.next();
    load.runs[0]?.end('v1');
    await first;
    await collapser.invalidate('seats');
    await clock.advance(50);
    load.runs[1]?.end('v2, that nobody reads in time');
    await clock.advance(0);
    await collapser.invalidate('seats');
    const next = values.next();
    expect(await fates([next])).toEqual(['pending']);
    await clock.advance(50);
    load.runs[2]?.end('v3');
    expect(await next).toEqual({ done: false, value: 'v3' });
    await collapser.close();
  });

  it('drops a value that an invalidation overtook while it loaded, the first one too, and loads again', async () => {
    const { collapser, clock } = alone();
    const load = manualLoader();
    const seen = read(collapser.watch('seats', load));
    await collapser.invalidate('seats');
    await clock.advance(60);
    expect(load.runs, 'one load at a time').toHaveLength(1);
    load.runs[0]?.end('overtaken');
    await clock.advance(0);
    expect(seen).toEqual([]);
    load.runs[1]?.end('new');
    await clock.advance(1_000);
    expect(seen).toEqual(['new']);
    expect(load.runs).toHaveLength(2);
    await collapser.close();
  });

  it('gives every second value where the key changes faster than it loads, and the last one in the end', async () => {
    const { collapser, clock } = alone();
    const load = manualLoader();
    const seen = read(collapser.watch('seats', load));
    for (let run = 0; run < 6; run++) {
      await collapser.invalidate('seats');
      await clock.advance(50);
      load.runs[run]?.end(`v${run}`);
      await clock.advance(0);
    }
    expect(load.runs, 'never more than one under way and one wanted').toHaveLength(7);
    load.runs[6]?.end('v6');
    await clock.advance(1_000);
    expect(seen).toEqual(['v1', 'v3', 'v5', 'v6']);
    expect(load.runs).toHaveLength(7);
    await collapser.close();
  });

  it('ends without an error when its signal aborts, when its reader stops, and when the collapser closes', async () => {
    const { collapser, clock } = alone();
    const stops = new AbortController();
    const load = manualLoader();
    const bySignal = read(collapser.watch('a', () => 1, { signal: stops.signal }));
    const loading = read(collapser.watch('b', load, { signal: stops.signal }));
    const byClose = read(collapser.watch('c', () => 3));
    const byBreak: number[] = [];
    for await (const value of collapser.watch('d', () => 4)) {
      byBreak.push(value);
      break;
    }
    const iterator = collapser.watch('e', () => 5)[Symbol.asyncIterator]();
    await iterator.next();
    const waiting = iterator.next();
    await iterator.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });
    await clock.advance(0);
    expect(collapser.stats().watchers).toBe(3);
    await collapser.invalidate('a');
    stops.abort();
    await clock.advance(0);
    expect([bySignal, loading, byClose, byBreak]).toEqual([[1, 'end'], ['end'], [3], [4]]);
    expect(load.runs[0]?.context.signal.aborted, 'nobody waits for its load any more').toBe(true);
    expect(collapser.stats()).toMatchObject({ watchers: 1, flights: 0, waiters: 0 });
    expect(clock.pending).toBe(0);
    await collapser.close();
    await clock.advance(0);
    expect(byClose).toEqual([3, 'end']);
    expect(collapser.stats().watchers).toBe(0);
  });

  it('yields nothing where it ended before it began, and after it ended', async () => {
    const { collapser, clock } = alone();
    const values = collapser.watch('seats', () => 1);
    const aborted = read(collapser.watch('seats', () => 1, { signal: AbortSignal.abort() }));
    await collapser.close();
    const closed = read(values);
    await clock.advance(0);
    expect([aborted, closed]).toEqual([['end'], ['end']]);
  });

  it('throws the error of its first load, untouched, and is over', async () => {
    const { collapser, clock } = alone();
    const gone = new Error('gone');
    const values = collapser.watch('seats', () => Promise.reject(gone), { onError: () => expect.unreachable() })[Symbol.asyncIterator]();
    await expect(values.next()).rejects.toBe(gone);
    expect(await values.next()).toEqual({ done: true, value: undefined });
    expect([collapser.stats().watchers, clock.pending]).toEqual([0, 0]);
  });

  it('tries a reload that failed again, 1, 2, 4 seconds later and so on, and tells onError', async () => {
    const { collapser, clock } = alone();
    const load = manualLoader();
    const errors: unknown[] = [];
    const seen = read(collapser.watch('seats', load, { onError: (error) => void errors.push(error) }));
    load.runs[0]?.end('v1');
    await clock.advance(0);
    await collapser.invalidate('seats');
    await clock.advance(50);
    load.runs[1]?.fail('first');
    await clock.advance(999);
    await collapser.invalidate('seats');
    expect(load.runs, 'an invalidation does not shorten the pause').toHaveLength(2);
    await clock.advance(1);
    load.runs[2]?.fail('second');
    await clock.advance(1_999);
    expect(load.runs).toHaveLength(3);
    await clock.advance(1);
    load.runs[3]?.end('v2');
    await clock.advance(60_000);
    expect([seen, errors, load.runs.length]).toEqual([['v1', 'v2'], ['first', 'second'], 4]);
    await collapser.invalidate('seats');
    await clock.advance(50);
    load.runs[4]?.fail('third');
    await clock.advance(1_000);
    expect(load.runs, 'after a success the pauses begin anew').toHaveLength(6);
    await collapser.close();
  });

  it('does not put off the reload of one watcher for the retry of another', async () => {
    const { collapser, clock } = alone();
    const failing = manualLoader();
    read(collapser.watch('seats', failing, { debounceMs: 10 }));
    failing.runs[0]?.end('v1');
    await clock.advance(0);
    const seats = row();
    read(collapser.watch('seats', seats.load, { debounceMs: 700 }));
    await clock.advance(0);
    await collapser.invalidate('seats');
    await clock.advance(10);
    failing.runs[1]?.fail('down');
    await clock.advance(689);
    expect(seats.reads).toEqual([1]);
    await clock.advance(1);
    expect(seats.reads).toEqual([1, 1]);
    await collapser.close();
  });

  it('ends with what onError throws', async () => {
    const { collapser, clock } = alone();
    let reads = 0;
    const load = () => {
      if (reads++ > 0) throw new Error('gone');
      return 1;
    };
    const stop = new Error('enough');
    const onError = (): never => {
      throw stop;
    };
    const seen = read(collapser.watch('seats', load, { onError }));
    await clock.advance(0);
    await collapser.invalidate('seats');
    await clock.advance(50);
    expect(seen).toEqual([1, stop]);
    expect([collapser.stats().watchers, clock.pending]).toEqual([0, 0]);
  });

  it('over limits.watchersMax yields its first value and ends, and is counted', async () => {
    const { collapser, clock } = alone({ limits: { watchersMax: 2 } });
    const reasons: unknown[] = [];
    collapser.listen((event) => event.type === 'bypass' && reasons.push(event.reason));
    const seen = [1, 2, 3].map((id) => read(collapser.watch(['seats', id], () => id)));
    await clock.advance(0);
    expect(seen).toEqual([[1], [2], [3, 'end']]);
    expect(reasons).toEqual(['too_many_watchers']);
    const cut = read(collapser.watch(['seats', 4], manualLoader()));
    const closed = collapser.close({ drainMs: 10 });
    await clock.advance(10);
    await closed;
    expect(cut, 'closing is no error to one over the limit either').toEqual(['end']);
  });

  it("loads in its reader's own context, also where a loader of the key invalidated it", async () => {
    const { collapser, clock } = alone();
    const request = new AsyncLocalStorage<string>();
    const seen = request.run('request 7', () => read(collapser.watch('seats', () => request.getStore())));
    await clock.advance(0);
    const writing = manualLoader();
    const write = request.run('request 8', () =>
      collapser.run('seats', async (context) => {
        await collapser.invalidate('seats');
        return writing(context);
      }),
    );
    await clock.advance(50);
    expect(seen).toEqual(['request 7', 'request 7']);
    writing.runs[0]?.end('written');
    expect(await write).toBe('written');
    await collapser.close();
  });

  it.each<[name: string, args: unknown[], message: string]>([
    ['a key that is none', ['', () => 1], 'expected a key: a non-empty string'],
    ['a loader that is none', ['k', 5], 'expected a loader: a function that returns the value or a promise of it, got the number 5'],
    ['an unknown option', ['k', () => 1, { debounce: 5 }], "got the unknown option 'debounce'; did you mean 'debounceMs'?"],
    ['a window that is none', ['k', () => 1, { debounceMs: -1 }], 'expected options.debounceMs to be a number of milliseconds from 0'],
    [
      'an onError that is none',
      ['k', () => 1, { onError: 'skip' }],
      'expected options.onError to be a function of the error, got a string of length 4',
    ],
    ['an option of run that is wrong', ['k', () => 1, { isolate: 'copy' }], 'expected options.isolate to be one of'],
  ])('refuses %s at once', (_, args, message) => {
    const { collapser } = alone();
    expect(() => collapser.watch(...(args as Parameters<typeof collapser.watch>))).toThrow(TypeError);
    expect(() => collapser.watch(...(args as Parameters<typeof collapser.watch>))).toThrow(message);
  });

  it('refuses to begin once the collapser is closed', async () => {
    const { collapser } = alone();
    await collapser.close();
    expect(() => collapser.watch('k', () => 1)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_CLOSED' }));
  });
});

describe('watch over replicas', () => {
  it('reloads once in the whole cluster for an invalidation, and gives its value to every watcher of every replica', async () => {
    const { replicas, r1, clock, settleDown } = start(3);
    const seats = row();
    const seen = replicas.flatMap((replica) => [1, 2, 3].map(() => read(replica.watch('seats', seats.load))));
    await settleDown();
    expect(seats.reads).toEqual([1]);
    seats.version = 2;
    await Promise.all([r1.invalidate('seats'), settleDown()]);
    await clock.advance(60);
    expect(seats.reads).toEqual([1, 2]);
    expect(seen).toEqual(Array(9).fill([1, 2]));
  });

  it('reloads once in the whole cluster also where replicas hear of it one after the other and loads are quick', async () => {
    const { replicas, r1, clock, settleDown, network } = start(3);
    const seats = row();
    const seen = replicas.map((replica) => read(replica.watch('seats', seats.load)));
    await settleDown();
    const deliver = network.hold(legs(2, 'message', 'invalidated'));
    seats.version = 2;
    await Promise.all([r1.invalidate('seats'), settleDown()]);
    await clock.advance(200);
    expect(seen).toEqual([[1, 2], [1, 2], [1]]);
    deliver();
    await clock.advance(50);
    expect(seen).toEqual(Array(3).fill([1, 2]));
    expect(seats.reads).toEqual([1, 2]);
  });

  it('does not reload for the news of its own invalidation that comes late', async () => {
    const { r0, clock, settleDown, network } = start(1);
    const seats = row();
    const seen = read(r0.watch('seats', seats.load));
    await settleDown();
    const deliver = network.hold(legs(0, 'message', 'invalidated'));
    seats.version = 2;
    await Promise.all([r0.invalidate('seats'), settleDown()]);
    await clock.advance(1_000);
    deliver();
    await clock.advance(1_000);
    expect([seen, seats.reads]).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });

  it('shares one retry among the replicas when a reload failed', async () => {
    const { replicas, r0, clock, settleDown } = start(3);
    const seats = row();
    let isDown = false;
    const load = () => {
      seats.reads.push(0);
      if (isDown) throw new Error('down');
      return seats.version;
    };
    const errors: unknown[] = [];
    const seen = replicas.map((replica) => read(replica.watch('seats', load, { onError: (error) => void errors.push(error) })));
    await settleDown();
    isDown = true;
    seats.version = 2;
    await Promise.all([r0.invalidate('seats'), settleDown()]);
    await clock.advance(60);
    expect([errors.length, seats.reads.length]).toEqual([3, 2]);
    isDown = false;
    await clock.advance(1_100);
    expect(seen).toEqual(Array(3).fill([1, 2]));
    expect(seats.reads).toHaveLength(3);
  });

  it('reloads once when messages may have been lost and come again: it may have missed an invalidation', async () => {
    const { r0, r1, coordinators, clock, settleDown } = start(2);
    const seats = row();
    const seen = [read(r0.watch('seats', seats.load)), read(r1.watch('seats', seats.load))];
    await settleDown();
    coordinators[1]?.deafen();
    seats.version = 2;
    await Promise.all([r0.invalidate('seats'), settleDown()]);
    await clock.advance(1_000);
    expect(seen).toEqual([[1, 2], [1]]);
    coordinators[1]?.listen();
    await clock.advance(50);
    expect(seen).toEqual([
      [1, 2],
      [1, 2],
    ]);
    await clock.advance(100_000);
    expect(seats.reads, 'the other replica was never deaf').toEqual([1, 2, 2]);
  });

  it('goes on while the coordinator is away: with invalidations made here, and with a reload when it is back', async () => {
    const { r0, r1, hub, clock, settleDown } = start(2);
    const seats = row();
    const seen = [read(r0.watch('seats', seats.load)), read(r1.watch('seats', seats.load))];
    await settleDown();
    hub.outage(true);
    seats.version = 2;
    await expect(r0.invalidate('seats')).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR' });
    await clock.advance(1_000);
    expect(seen).toEqual([[1, 2], [1]]);
    hub.outage(false);
    await clock.advance(1_000);
    expect(seen.map((values) => values.at(-1))).toEqual([2, 2]);
  });

  it('takes over the reload of a replica that dies in the middle', async () => {
    const { r0, r1, coordinators, clock, settleDown } = start(2);
    const load = manualLoader();
    const seen = [read(r0.watch('seats', load)), read(r1.watch('seats', load))];
    await settleDown();
    load.runs[0]?.end('v1');
    await settleDown();
    await Promise.all([r1.invalidate('seats'), settleDown()]);
    await clock.advance(55);
    expect(load.runs).toHaveLength(2);
    coordinators[load.runs[1]?.context.flightId.split('#')[0] === 'replica-1' ? 0 : 1]?.crash();
    await clock.advance(500);
    expect(load.runs).toHaveLength(3);
    load.runs[2]?.end('v2');
    await settleDown();
    expect(seen.filter((values) => values.at(-1) === 'v2')).toHaveLength(1);
  });

  it('never shows a version after an invalidation of a later one, and the last one in the end', { timeout: 30_000 }, async () => {
    const steps = fc.array(fc.record({ replica: fc.nat(2), pauseMs: fc.nat(120), loadMs: fc.nat(80) }), { minLength: 1, maxLength: 12 });
    const property = fc.asyncProperty(steps, async (plan) => {
      const { replicas, clock } = cluster(3);
      let version = 0;
      let loadMs = 0;
      const load = async (): Promise<number> => {
        const found = version;
        await new Promise<void>((resolve) => void clock.setTimer(resolve, loadMs));
        return found;
      };
      const seen = replicas.map((replica) => read(replica.watch('row', load)));
      await clock.advance(10);
      for (const step of plan) {
        loadMs = step.loadMs;
        version++;
        await Promise.all([replicas[step.replica]?.invalidate('row'), clock.advance(0)]);
        await clock.advance(step.pauseMs);
      }
      await clock.advance(2_000);
      for (const values of seen) {
        expect(values.at(-1)).toBe(version);
        expect(values).toEqual([...new Set(values)].toSorted((a, b) => Number(a) - Number(b)));
      }
      await Promise.all(replicas.map((replica) => replica.close()));
      expect(clock.pending).toBe(0);
    });
    await fc.assert(property, { numRuns: 60, seed: 20_260_101 });
  });
});
