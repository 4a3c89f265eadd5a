import { createCollapser, type Collapser, type CollapserEvent } from '@oneflight/core';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';

/*
 * runMany, warm and watch over a real Redis: four replicas, each a collapser with connections of its own. Settings are
 * patient: on a slow machine rechecks would be counted, which are what a fault costs and not a flight.
 */
const PATIENT = { leaseMs: 60_000, recheckMs: 20_000, commandTimeoutMs: 10_000, retainMs: 60_000 };
const REPLICAS = 4;

let server: TestServer;
let probe: Redis;
let replicas: Collapser[] = [];
let tests = 0;

beforeAll(async () => {
  server = await startRedis();
  probe = new Redis(server.url);
});

afterAll(async () => {
  probe.disconnect();
  await server.stop();
});

afterEach(async () => {
  await Promise.all(replicas.map((replica) => replica.close()));
  for (const replica of replicas) expect(replica.stats()).toMatchObject({ flights: 0, waiters: 0, watchers: 0 });
  for (const key of await probe.keys('*')) expect(await probe.pttl(key), `expiry of ${key}, -1 for none`).not.toBe(-1);
  replicas = [];
});

/** Replicas that are connected, and whose scripts the server knows. */
async function start(): Promise<Collapser[]> {
  const prefix = `test-${++tests}`;
  replicas = Array.from({ length: REPLICAS }, () =>
    createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(server.url), prefix, ...PATIENT }) }),
  );
  const settled = events(REPLICAS, (event) => event.type === 'operation' && event.operation === 'settle');
  await Promise.all(replicas.map((replica, index) => replica.run(['warm-up', index], () => index)));
  await settled;
  return replicas;
}

/** Resolves when this many events that fit have happened on all replicas together. */
function events(count: number, fits: (event: CollapserEvent) => boolean): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0;
    for (const replica of replicas) {
      replica.listen((event) => {
        if (fits(event) && ++seen === count) resolve();
      });
    }
  });
}

const elections = (count: number): Promise<void> => events(count, ({ type }) => type === 'election');

async function serverCounts(): Promise<{ scripts: number; reads: number }> {
  const [commands, stats] = [await probe.info('commandstats'), await probe.info('stats')];
  const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  const scripts = number(commands, /cmdstat_evalsha:calls=(\d+)/) + number(commands, /cmdstat_eval:calls=(\d+)/);
  return { scripts, reads: number(stats, /total_reads_processed:(\d+)/) };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);
const seat = { key: (id: number) => ['seat', id] };

describe('runMany over Redis', () => {
  it('loads each of 200 overlapping keys once on 4 replicas, by one script per key and replica and one per key', async () => {
    await start();
    const batches: number[][][] = replicas.map(() => []);
    const keysOf = (replica: number): number[] => range(replica * 20, replica * 20 + 140);
    const allAsked = elections(REPLICAS * 140);
    const before = await serverCounts();
    const calls = replicas.map((replica, index) =>
      replica.runMany(
        keysOf(index),
        async (ids) => {
          batches[index]?.push([...ids]);
          await allAsked;
          return new Map(ids.map((id) => [id, { id, by: index }]));
        },
        seat,
      ),
    );
    const results = await Promise.all(calls);
    await Promise.all(replicas.map((replica) => replica.close()));
    const after = await serverCounts();
    for (const [index, seats] of results.entries()) {
      expect([...seats.keys()]).toEqual(keysOf(index));
      for (const [id, value] of seats) expect(value).toEqual({ id, by: batches.findIndex((each) => each.flat().includes(id)) });
    }
    expect(batches.flat(2).toSorted((a, b) => a - b)).toEqual(range(0, 200));
    expect(batches.map((each) => each.length <= 1)).toEqual(Array(REPLICAS).fill(true));
    expect(after.scripts - before.scripts).toBe(REPLICAS * 140 + 200);
    console.log(`${after.scripts - before.scripts} scripts in ${after.reads - before.reads} reads of the server`);
    expect(after.reads - before.reads, 'claims of one tick share their writes').toBeLessThan((after.scripts - before.scripts) / 4);
  });

  it(
    'ends random overlaps at random moments without a deadlock, and never loads a key twice at the same time',
    { timeout: 30_000 },
    async () => {
      await start();
      let seed = 20_260_101;
      const random = (below: number): number => {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        return seed % below;
      };
      const loading = new Set<number>();
      const twice: number[] = [];
      const load = async (ids: readonly number[]) => {
        for (const id of ids) {
          if (loading.has(id)) twice.push(id);
          loading.add(id);
        }
        await new Promise((resolve) => setTimeout(resolve, random(8)));
        for (const id of ids) loading.delete(id);
        return new Map(ids.map((id) => [id, `seat ${id}`]));
      };
      const client = async (replica: Collapser): Promise<void> => {
        for (let round = 0; round < 40; round++) {
          const ids = [...new Set(Array.from({ length: 1 + random(12) }, () => random(16)))];
          const seats = await replica.runMany(ids, load, seat);
          expect([...seats]).toEqual(ids.map((id) => [id, `seat ${id}`]));
        }
      };
      await Promise.all(replicas.flatMap((replica) => [client(replica), client(replica), client(replica)]));
      expect(twice).toEqual([]);
    },
  );

  it('leaves out on every replica what the loader did not find', async () => {
    await start();
    const allAsked = elections(REPLICAS * 2);
    const load = async () => {
      await allAsked;
      return new Map([[2, 'b']]);
    };
    const results = await Promise.all(replicas.map((replica) => replica.runMany([1, 2], load, seat)));
    expect(results.map((seats) => [...seats])).toEqual(Array(REPLICAS).fill([[2, 'b']]));
  });
});

describe('warm over Redis', () => {
  it('loads each key once, whatever place each replica begins at', async () => {
    await start();
    const loaded: unknown[] = [];
    const entries = range(0, 40).map((id) => ({ key: ['match', id], loader: () => void loaded.push(id) }));
    const reports = await Promise.all(replicas.map((replica) => replica.warm(entries, { ttlMs: 30_000 })));
    expect(loaded.toSorted((a, b) => Number(a) - Number(b))).toEqual(range(0, 40));
    expect(reports.map(({ loaded: here, shared, failed }) => [here + shared, failed])).toEqual(Array(REPLICAS).fill([40, []]));
  });
});

describe('watch over Redis', () => {
  it('gives every watcher of every replica each version, from one load per invalidation', async () => {
    const [first] = await start();
    let version = 1;
    const reads: number[] = [];
    const load = (): number => {
      reads.push(version);
      return version;
    };
    const iterators = replicas.flatMap((replica) =>
      [1, 2].map(() => replica.watch('row', load, { debounceMs: 20 })[Symbol.asyncIterator]()),
    );
    const next = async (): Promise<unknown[]> =>
      (await Promise.all(iterators.map((iterator) => iterator.next()))).map(({ value }) => value);
    expect(new Set(await next())).toEqual(new Set([1]));
    reads.length = 0;
    for (version = 2; version <= 6; version++) {
      const values = next();
      await first?.invalidate('row');
      expect(await values).toEqual(Array(REPLICAS * 2).fill(version));
    }
    expect(reads).toEqual([2, 3, 4, 5, 6]);
  });
});
