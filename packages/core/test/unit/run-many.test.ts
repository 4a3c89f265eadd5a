import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type BatchContext, type Collapser } from '../../src/index.js';
import { cluster, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster & { readonly r0: Collapser; readonly r1: Collapser } {
  current = cluster(...args);
  const [r0, r1 = r0] = current.replicas;
  if (r0 === undefined || r1 === undefined) throw new Error('no replica');
  return { ...current, r0, r1 };
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) {
    expect(current.clock.pending, 'timers left after close').toBe(0);
    for (const replica of current.replicas) expect(replica.stats()).toMatchObject({ flights: 0, joinable: 0, waiters: 0, loading: 0 });
  }
  current = undefined;
});

const seat = { key: (id: number) => ['seat', id] };
const nameOf = (id: number): string => `seat ${id}`;
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

/** A batch loader that writes down what it was called with, and answers at once. */
function table() {
  const batches: number[][] = [];
  const load = async (ids: readonly number[]): Promise<Map<number, string>> => {
    batches.push([...ids]);
    return new Map(ids.map((id) => [id, nameOf(id)]));
  };
  return { batches, load };
}

/** A batch loader whose runs a test ends one by one. */
function manualTable() {
  const runs: {
    ids: readonly number[];
    context: BatchContext<number, string>;
    end(values?: Map<number, string>): void;
    fail(error: unknown): void;
  }[] = [];
  const load = (ids: readonly number[], context: BatchContext<number, string>): Promise<Map<number, string>> =>
    new Promise((resolve, reject) => {
      runs.push({ ids, context, end: (values = new Map(ids.map((id) => [id, nameOf(id)]))) => resolve(values), fail: reject });
    });
  return { runs, load };
}

describe('runMany in one process', () => {
  it('loads all keys by one call, and returns a map in the order of the keys', async () => {
    const { batches, load } = table();
    const seats = await createCollapser().runMany([3, 1, 2], load, seat);
    expect([...seats]).toEqual([
      [3, 'seat 3'],
      [1, 'seat 1'],
      [2, 'seat 2'],
    ]);
    expect(batches).toEqual([[3, 1, 2]]);
  });

  it('asks for each key once, also where keys repeat or stand for the same key', async () => {
    const { batches, load } = table();
    const seats = await createCollapser().runMany([1, 2, 1, 11], load, { key: (id) => ['seat', id % 10] });
    expect(batches).toEqual([[1, 2]]);
    expect([...seats]).toEqual([
      [1, 'seat 1'],
      [2, 'seat 2'],
      [11, 'seat 1'],
    ]);
  });

  it('loads nothing for no keys', async () => {
    const { batches, load } = table();
    expect(await createCollapser().runMany([], load, seat)).toEqual(new Map());
    expect(batches).toEqual([]);
  });

  it('joins run on the same key, and is joined by it', async () => {
    const collapser = createCollapser();
    const single = manualLoader();
    const { runs, load } = manualTable();
    const first = collapser.run(['seat', 1], single);
    const many = collapser.runMany([1, 2], load, seat);
    const second = collapser.run(['seat', 2], single);
    expect(runs.map(({ ids }) => ids)).toEqual([[2]]);
    runs[0]?.end();
    single.runs[0]?.end('from run');
    expect([await first, await second, [...(await many)]]).toEqual([
      'from run',
      'seat 2',
      [
        [1, 'from run'],
        [2, 'seat 2'],
      ],
    ]);
    expect(single.runs).toHaveLength(1);
  });
});

describe('runMany over replicas', () => {
  it('loads each of 100 overlapping keys once on 8 replicas, and each replica the keys that it leads by one call', async () => {
    const { replicas, hub, settleDown } = start(8);
    const tables = replicas.map(table);
    const calls = replicas.map((replica, index) => {
      const ids = range(index * 5, index * 5 + 65);
      return replica.runMany(ids, tables[index]?.load ?? table().load, seat);
    });
    await settleDown();
    for (const [index, call] of calls.entries()) {
      const ids = range(index * 5, index * 5 + 65);
      expect([...(await call)]).toEqual(ids.map((id) => [id, nameOf(id)]));
    }
    const batches = tables.map((each) => each.batches);
    expect(batches.flat(2).sort((a, b) => a - b)).toEqual(range(0, 100));
    expect(batches.map((each) => each.length)).toEqual(Array(8).fill(1));
    const count = (op: string) => hub.operations.filter((operation) => operation.op === op).length;
    expect({ claims: count('claim'), settles: count('settle'), all: hub.operations.length }).toEqual({
      claims: 8 * 65,
      settles: 100,
      all: 8 * 65 + 100,
    });
  });
});
