import { createHook } from 'node:async_hooks';
import { Session } from 'node:inspector/promises';
import { createCollapser, type Collapser } from '@oneflight/core';
import { redisCommand, startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { claimOf, joinReplica } from '../support/replica.js';

/*
 * What a flight costs at Redis, counted by Redis: the same on every machine. A number that grows needs a reason in
 * docs/performance.md.
 */
const REPLICAS = 4;
const FLIGHTS = 50;
/** Nothing is sent again on a slow machine: that is what a fault costs, not a flight. */
const PATIENT = { leaseMs: 60_000, recheckMs: 20_000, commandTimeoutMs: 10_000, retainMs: 60_000 };

let server: TestServer;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

interface Cost {
  readonly scripts: number;
  readonly messages: number;
  readonly bytesOut: number;
}

async function costSoFar(): Promise<Cost> {
  const text = String(await redisCommand(server, 'INFO', 'everything'));
  const calls = (command: string): number => Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    scripts: calls('evalsha') + calls('eval'),
    messages: calls('publish'),
    bytesOut: Number(/^total_net_output_bytes:(\d+)/m.exec(text)?.[1]),
  };
}

/** What `use` costs, for each of `count`. The bytes without those of the question itself. */
async function costOf(count: number, use: () => Promise<unknown>): Promise<Cost> {
  // A leader settles after it has answered its own caller: what went before is over when nothing more comes.
  let idle = await costSoFar();
  let before = await costSoFar();
  while (before.scripts !== idle.scripts) [idle, before] = [before, await costSoFar()];
  await use();
  const after = await costSoFar();
  const asking = before.bytesOut - idle.bytesOut;
  return {
    scripts: (after.scripts - before.scripts) / count,
    messages: (after.messages - before.messages) / count,
    bytesOut: (after.bytesOut - before.bytesOut - asking) / count,
  };
}

async function withReplicas(use: (replicas: readonly Collapser[]) => Promise<void>): Promise<void> {
  const replicas = Array.from({ length: REPLICAS }, () =>
    createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(server.url), ...PATIENT }) }),
  );
  try {
    await Promise.all(replicas.map((replica) => replica.run('warm-up', async () => 'warm')));
    await use(replicas);
  } finally {
    await Promise.all(replicas.map((replica) => replica.close()));
  }
}

/** Every replica asks for every key; the loads end when all others follow. */
async function fly(replicas: readonly Collapser[], prefix: string, value: unknown): Promise<{ loads: number }> {
  let following = 0;
  let loads = 0;
  let letLoadsFinish: () => void = () => {};
  const finished = new Promise<void>((resolve) => (letLoadsFinish = resolve));
  const unlisten = replicas.map((replica) =>
    replica.listen((event) => {
      if (event.type === 'election' && event.result === 'lost' && ++following === FLIGHTS * (REPLICAS - 1)) letLoadsFinish();
    }),
  );
  const load = async (): Promise<unknown> => {
    loads += 1;
    await finished;
    return value;
  };
  const keys = Array.from({ length: FLIGHTS }, (_, index) => `${prefix}-${index}`);
  await Promise.all(replicas.flatMap((replica) => keys.map((key) => replica.run(key, load))));
  for (const stop of unlisten) stop();
  return { loads };
}

describe(`a flight on ${REPLICAS} replicas`, () => {
  it('is R + 1 scripts, R - 1 messages and some hundred bytes for each replica that waits', async () => {
    await withReplicas(async (replicas) => {
      let loads = 0;
      const cost = await costOf(FLIGHTS, async () => ({ loads } = await fly(replicas, 'small', { seats: [1, 2, 3] })));
      expect({ loads, scripts: cost.scripts, messages: cost.messages }).toEqual({
        loads: FLIGHTS,
        scripts: REPLICAS + 1,
        messages: REPLICAS - 1,
      });
      expect(cost.bytesOut / (REPLICAS - 1)).toBeLessThan(700);
    });
  });

  it('sends an outcome that is too large for a message to those who wait, once each, for one script more', async () => {
    await withReplicas(async (replicas) => {
      const payload = 'x'.repeat(20_000);
      const cost = await costOf(FLIGHTS, () => fly(replicas, 'large', payload));
      expect(cost.scripts).toBe(REPLICAS + 1 + (REPLICAS - 1));
      expect(cost.bytesOut / ((REPLICAS - 1) * payload.length)).toBeLessThan(1.1);
    });
  });
});

describe('a call that nobody joins', () => {
  it('is two scripts and no message, and one script where a stored value answers', async () => {
    await withReplicas(async ([replica]) => {
      const each = (use: (key: string) => Promise<unknown>) => async () => {
        for (let index = 0; index < FLIGHTS; index += 1) await use(`alone-${index}`);
      };
      const load = async (): Promise<string> => 'seats';
      const alone = await costOf(
        FLIGHTS,
        each((key) => replica?.run(key, load, { ttlMs: 60_000 }) ?? Promise.reject(new Error('no replica'))),
      );
      expect({ scripts: Math.ceil(alone.scripts), messages: alone.messages }).toEqual({ scripts: 2, messages: 0 });
      const stored = await costOf(
        FLIGHTS,
        each((key) => replica?.run(key, load, { ttlMs: 60_000 }) ?? Promise.reject(new Error('no replica'))),
      );
      expect({ scripts: Math.floor(stored.scripts), messages: stored.messages }).toEqual({ scripts: 1, messages: 0 });
    });
  });
});

describe('in its process', () => {
  const times = 500;

  it('a claim is one promise, and so is a settle: the one that is awaited', async () => {
    const { link, id } = joinReplica(redisCoordinator({ redis: () => new Redis(server.url), ...PATIENT }));
    await link.opening;
    const numbers = Array.from({ length: times }, (_, number) => number);
    await link.claim(claimOf('warm', id(times)));
    const claims: Promise<Awaited<ReturnType<typeof link.claim>>>[] = [];
    const claimed = await promisesOf(async () => {
      for (const number of numbers) claims.push(link.claim(claimOf(`k${number}`, id(number))));
    });
    const answers = await Promise.all(claims);
    const outcome = { kind: 'value', bytes: Buffer.from('seats') } as const;
    const settles: Promise<unknown>[] = [];
    const settled = await promisesOf(async () => {
      for (const [number, answer] of answers.entries()) {
        if (answer.role !== 'leader') throw new Error(`expected to lead, got ${answer.role}`);
        settles.push(link.settle({ key: `k${number}`, id: id(number), token: answer.fencingToken, outcome }));
      }
    });
    await Promise.all(settles);
    await link.close();
    // The two functions that are measured are promises as well.
    expect({ claim: Math.floor(claimed / times), settle: Math.floor(settled / times) }).toEqual({ claim: 1, settle: 1 });
  });

  it('a flight that nobody joins is at most 22 promises and 35,000 bytes of garbage, with those of its caller and loader', async () => {
    await withReplicas(async ([replica]) => {
      if (replica === undefined) throw new Error('expected a replica');
      const fly = (prefix: string) => async (): Promise<void> => {
        const load = async (): Promise<object> => ({ seats: [1, 2, 3] });
        await Promise.all(Array.from({ length: times }, (_, number) => replica.run(`${prefix}-${number}`, load)));
      };
      await fly('warm')();
      const [promises, bytes] = [(await promisesOf(fly('counted'))) / times, (await garbageOf(fly('weighed'))) / times];
      console.log(`a flight over Redis that nobody joins: ${promises.toFixed(1)} promises, ${Math.round(bytes)} bytes of garbage`);
      expect(promises).toBeLessThanOrEqual(22);
      expect(bytes).toBeLessThan(35_000);
    });
  });
});

/** How many promises are made, with those of ioredis and those that `await` makes. */
async function promisesOf(use: () => Promise<void>): Promise<number> {
  let promises = 0;
  const hook = createHook({ init: (_, type) => void (type === 'PROMISE' && (promises += 1)) }).enable();
  await use();
  hook.disable();
  return promises;
}

/** How many bytes are taken, by samples: also those that were given back. */
async function garbageOf(use: () => Promise<void>): Promise<number> {
  const session = new Session();
  session.connect();
  const settings = { samplingInterval: 4_096, includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
  await session.post('HeapProfiler.startSampling', settings);
  await use();
  const { profile } = await session.post('HeapProfiler.stopSampling');
  session.disconnect();
  const sizeOf = ({ selfSize, children }: typeof profile.head): number => children.reduce((sum, child) => sum + sizeOf(child), selfSize);
  return sizeOf(profile.head);
}
