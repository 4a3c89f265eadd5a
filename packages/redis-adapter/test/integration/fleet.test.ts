import { startRedis, type TestServer } from '@oneflight/testkit';
import { waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { monotonicMs, startFleet, type CallReport, type ReplicaProcess } from '../support/fleet.js';

/*
 * The main promise on real processes and a real Redis: one load per flight in the whole cluster. Loads count themselves
 * at another Redis than the one under test, so what Redis is asked for by the product can be counted too.
 */
/** On a slow machine rechecks would be counted, which are what a fault costs and not a flight. */
const PATIENT = { leaseMs: 60_000, recheckMs: 20_000, commandTimeoutMs: 10_000, retainMs: 60_000 };

let server: TestServer;
let controlServer: TestServer;
let control: Redis;
let probe: Redis;

beforeAll(async () => {
  [server, controlServer] = await Promise.all([startRedis(), startRedis()]);
  control = new Redis(controlServer.url);
  probe = new Redis(server.url);
});

afterAll(async () => {
  control.disconnect();
  probe.disconnect();
  await Promise.all([server.stop(), controlServer.stop()]);
});

async function withFleet(size: number, use: (replicas: readonly ReplicaProcess[]) => Promise<void>, options: object = {}): Promise<void> {
  const fleet = await startFleet(size, { url: server.url, controlUrl: controlServer.url, options });
  try {
    await use(fleet.replicas);
    expect(await Promise.all(fleet.replicas.map((replica) => replica.close()))).toEqual(Array(size).fill(0));
    expect(fleet.replicas.map(({ stderr }) => stderr.join(''))).toEqual(Array(size).fill(''));
  } finally {
    await fleet.stop();
  }
}

/** Everybody calls the key, and the load ends `loadMs` after the last process has called: the burst overlaps the load. */
async function overlappingBurst(replicas: readonly ReplicaProcess[], key: string, loadMs: number, calls: number): Promise<CallReport[]> {
  const barrier = { key: `barrier:${key}`, count: replicas.length };
  return (await Promise.all(replicas.map((replica) => replica.burst({ key, calls, loadMs, barrier })))).flat();
}

const loads = async (key: string): Promise<number> => Number(await control.get(`loads:${key}`));

describe('8 processes', () => {
  it.each([1, 5, 20, 50, 200, 700])('load a key once per burst that overlaps a load of %i ms', async (loadMs) => {
    await withFleet(8, async (replicas) => {
      const bursts = loadMs <= 50 ? 20 : 4;
      for (let burst = 0; burst < bursts; burst++) {
        const key = `burst-${loadMs}-${burst}`;
        const answers = await overlappingBurst(replicas, key, loadMs, 10);
        expect(answers.filter(({ error }) => error !== undefined)).toEqual([]);
        expect({ burst, loads: await loads(key), pids: new Set(answers.map(({ load }) => load?.pid)).size }).toEqual({
          burst,
          loads: 1,
          pids: 1,
        });
      }
    });
  });

  it('never load a key twice at the same time when each calls when it likes, and answer only with loads of its own time', async () => {
    await withFleet(8, async (replicas) => {
      const summary: Record<string, string> = {};
      for (const loadMs of [1, 5, 20, 50, 200, 700]) {
        const key = `free-${loadMs}`;
        const answers = (
          await Promise.all(replicas.map((replica) => replica.burst({ key, calls: 10, loadMs, at: monotonicMs() + 50 })))
        ).flat();
        expect(answers.filter(({ error }) => error !== undefined)).toEqual([]);
        expect(staleAnswers(answers)).toEqual([]);
        expect(answers.every(({ load }) => load?.running === 1)).toBe(true);
        summary[`${loadMs} ms`] = `${await loads(key)} loads for ${answers.length} calls`;
      }
      console.log('free-running bursts, 8 processes x 10 calls:', summary);
    });
  });

  it('never load a key twice at the same time in a closed loop of 8 s', async () => {
    await withFleet(8, async (replicas) => {
      const loops = await Promise.all(
        replicas.map((replica) => replica.closedLoop({ key: 'loop', users: 5, durationMs: 8_000, loadMs: 10 })),
      );
      const calls = loops.reduce((sum, loop) => sum + loop.calls, 0);
      const count = await loads('loop');
      expect(loops.map(({ errors, overlaps }) => ({ errors, overlaps }))).toEqual(Array(8).fill({ errors: 0, overlaps: 0 }));
      expect(calls).toBeGreaterThan(count);
      console.log(`closed loop, 8 processes x 5 users, 8 s: ${calls} calls, ${count} loads of 10 ms, never two at a time`);
    });
  });
});

describe('8 processes with 100 keys each', () => {
  const IDS = 100;
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

  it.each([
    ['the same for all', 0],
    ['twenty further on in each', 20],
  ])('load each key once, by one batch per process, by one script per claim and one per key: %s', async (what, step) => {
    await withFleet(
      8,
      async (replicas) => {
        const name = `many-${step}`;
        const idsOf = (replica: number): number[] => range(replica * step, replica * step + IDS);
        const all = range(0, 7 * step + IDS);
        await Promise.all(replicas.map((replica, index) => replica.burst({ key: `hello-${step}-${index}`, calls: 1, loadMs: 0 })));
        await untilQuiet();
        const before = await serverCounts();
        const barrier = { key: `barrier:${name}`, count: 8 };
        const reports = await Promise.all(
          replicas.map((replica, index) => replica.many({ name, ids: idsOf(index), barrier, yields: index % 2 === 0 })),
        );
        await untilQuiet();
        const after = await serverCounts();
        for (const [index, { values, failures }] of reports.entries()) {
          expect(failures).toEqual([]);
          expect(values.map(({ id, number }) => [id, number])).toEqual(idsOf(index).map((id) => [id, 1]));
        }
        const batches = reports.map((report) => report.batches);
        expect(batches.flat(2).toSorted((a, b) => a - b)).toEqual(all);
        expect(batches.filter((each) => each.length > 1)).toEqual([]);
        const scripts = after.scripts - before.scripts;
        console.log(
          `runMany, 8 processes x ${IDS} keys, ${what}: ${all.length} keys loaded once by ${batches.flat().length} batches, ${scripts} scripts in ${after.reads - before.reads} reads of the server`,
        );
        expect(scripts).toBe(8 * IDS + all.length);
        expect(after.reads - before.reads, 'commands of a tick share their writes').toBeLessThan(scripts / 4);
      },
      PATIENT,
    );
  });

  it('fail a key alone, with the same words in every process', async () => {
    await withFleet(
      8,
      async (replicas) => {
        const barrier = { key: 'barrier:partial', count: 8 };
        const ids = range(0, IDS);
        const reports = await Promise.all(replicas.map((replica) => replica.many({ name: 'partial', ids, barrier, fails: [7, 70] })));
        for (const { values, failures } of reports) {
          expect(values.map(({ id }) => id)).toEqual(ids.filter((id) => id !== 7 && id !== 70));
          expect(failures.toSorted()).toEqual([
            [7, 'no row 7'],
            [70, 'no row 70'],
          ]);
        }
        expect(await loads('partial:7')).toBe(1);
      },
      PATIENT,
    );
  });
});

describe('4 replicas', () => {
  it('answer 1,000 concurrent callers of one key by one load', async () => {
    await withFleet(4, async (replicas) => {
      const answers = await overlappingBurst(replicas, 'thousand', 50, 250);
      expect(await loads('thousand')).toBe(1);
      const sources = ['leader', 'local', 'remote'].map((source) => answers.filter((answer) => answer.source === source).length);
      expect(sources).toEqual([1, 996, 3]);
    });
  });

  it('load each of 2,000 keys once, with at most R + 1 scripts per flight', async () => {
    await withFleet(
      4,
      async (replicas) => {
        await Promise.all(replicas.map((replica) => replica.burst({ key: 'warm-up', calls: 1, loadMs: 0 })));
        const keys = Array.from({ length: 2_000 }, (_, index) => `many-${index}`);
        // The leader of the warm-up answers before it settles.
        let before = -1;
        await waitFor(async () => before === (before = await scriptsRun()), { everyMs: 50, what: 'the warm-up to settle' });
        const at = monotonicMs() + 200;
        const answers = (await Promise.all(replicas.map((replica) => replica.sweep({ keys, loadMs: 400, at })))).flat();
        const scripts = (await scriptsRun()) - before;
        const count = (await Promise.all(keys.map(loads))).reduce((sum, item) => sum + item, 0);
        expect({ answers: answers.length, errors: answers.filter(({ error }) => error !== undefined).length, loads: count }).toEqual({
          answers: 8_000,
          errors: 0,
          loads: 2_000,
        });
        console.log(`2,000 keys x 4 replicas: ${count} loads, ${scripts} scripts, ${(scripts / count).toFixed(2)} per flight`);
        expect(scripts / count).toBeLessThanOrEqual(5);
      },
      PATIENT,
    );
  });

  it('give the same error, by name, message, code and status, on every replica', async () => {
    await withFleet(4, async (replicas) => {
      const barrier = { key: 'barrier:failing', count: 4 };
      const answers = (
        await Promise.all(replicas.map((replica) => replica.burst({ key: 'failing', calls: 3, loadMs: 5, barrier, fails: 'no such seat' })))
      ).flat();
      const same = { name: 'RangeError', message: 'no such seat', code: 'LOAD_FAILED', status: 503 };
      expect(answers.map(({ error }) => error)).toEqual(answers.map(({ error }) => ({ ...same, remote: error?.remote })));
      expect(answers.filter(({ error }) => error?.remote === true)).toHaveLength(9);
      expect(await loads('failing')).toBe(1);
    });
  });

  it('give callers after await invalidate() the new value, on the same replica and on others, and still answer those before', async () => {
    await withFleet(4, async (replicas) => {
      const [issuer, ...others] = replicas;
      const barrier = { key: 'barrier:fenced', count: 9 };
      const before = replicas.map((replica) => replica.burst({ key: 'fenced', calls: 2, loadMs: 0, barrier, value: 'old' }));
      await control.get('barrier:fenced');
      while (Number(await control.get('barrier:fenced')) < 4 || (await probe.hlen(await waitersKey())) < 3);
      await issuer?.invalidate('fenced');
      const after = await issuer?.burst({ key: 'fenced', calls: 2, loadMs: 0, value: 'new' });
      // Each other replica is asked once its own subscriber has heard of it: the stats command does nothing but take its turn.
      await Promise.all(others.map((replica) => replica.stats()));
      const elsewhere = (
        await Promise.all(others.map((replica) => replica.burst({ key: 'fenced', calls: 2, loadMs: 0, value: 'new' })))
      ).flat();
      expect([...(after ?? []), ...elsewhere].map(({ load }) => load?.value)).toEqual(Array(8).fill('new'));
      await control.incrby('barrier:fenced', 9);
      const early = (await Promise.all(before)).flat();
      // They called before the invalidation: the old value is right for them, and so is a newer one that came sooner.
      expect(early.filter(({ load }) => load?.value === 'old' || load?.value === 'new')).toHaveLength(8);
      expect(early.some(({ load }) => load?.value === 'old')).toBe(true);
    });
  });

  it('leave no key without expiry in Redis, and no flight in any process', async () => {
    await withFleet(4, async (replicas) => {
      await overlappingBurst(replicas, 'left', 5, 20);
      const keys = await probe.keys('*');
      expect(keys.length).toBeGreaterThan(0);
      for (const key of keys) expect(await probe.pttl(key), `expiry of ${key}, -1 for none`).not.toBe(-1);
      for (const replica of replicas) expect(await replica.stats()).toMatchObject({ flights: 0, joinable: 0, waiters: 0 });
    });
  });
});

/** Calls that began after the outcome they got had already reached another replica: their flight was over. */
function staleAnswers(answers: readonly CallReport[]): CallReport[] {
  const overAt = new Map<number | undefined, number>();
  for (const { source, endedAt, load } of answers) {
    if (source === 'remote') overAt.set(load?.number, Math.min(endedAt, overAt.get(load?.number) ?? endedAt));
  }
  return answers.filter(({ startedAt, load }) => startedAt > (overAt.get(load?.number) ?? startedAt));
}

async function serverCounts(): Promise<{ scripts: number; reads: number }> {
  const reads = Number(/total_reads_processed:(\d+)/.exec(await probe.info('stats'))?.[1] ?? 0);
  return { scripts: await scriptsRun(), reads };
}

/** Resolves when no flight is left to settle: a leader answers before it settles. */
async function untilQuiet(): Promise<void> {
  let before = -1;
  await waitFor(async () => before === (before = await scriptsRun()), { everyMs: 100, what: 'the last settles' });
}

async function scriptsRun(): Promise<number> {
  const info = await probe.info('commandstats');
  const calls = (name: string): number => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(info)?.[1] ?? 0);
  return calls('evalsha') + calls('eval');
}

/** The one hash of waiters that exists while one key has followers. */
async function waitersKey(): Promise<string> {
  const keys = (await probe.keys('*')).filter((key) => key.endsWith(':w'));
  return keys[0] ?? 'none';
}
