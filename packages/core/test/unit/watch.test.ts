import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type Collapser } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

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
});
