import { type Collapser, createCollapser } from '@oneflight/core';
import { type MessageVerdict, type RespProxy, startRedis, startRespProxy, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import type { RedisCoordinatorOptions } from '../../src/options.js';
import { ms, quantile, SCALE } from '../support/stage.js';
import { isRefusal, scriptOf } from '../support/traps.js';

/*
 * Wake-ups are lost, doubled, late and out of order; a reply and a wake-up overtake each other. Several collapsers in
 * this process, each with connections of its own, through a proxy that knows messages from replies.
 */
let server: TestServer;
let link: RespProxy;
let probe: Redis;
let collapsers: Collapser[];

beforeEach(async () => {
  server = await startRedis();
  link = await startRespProxy({ target: server });
  probe = new Redis(server.url);
  collapsers = [];
});

afterEach(async () => {
  link.rules = {};
  link.release();
  await Promise.all(collapsers.map((collapser) => collapser.close()));
  probe.disconnect();
  await link.stop();
  await server.stop();
});

const COLLAPSERS = 4;
/** Short, because a follower whose wake-up was lost waits for its recheck. */
const LOSSY = { recheckMs: 20, leaseMs: 2_000, commandTimeoutMs: 1_500 };

describe('when of all wake-ups', () => {
  it.each([
    { loss: '100 %', flights: 2_500, verdict: (): MessageVerdict => 'drop' },
    { loss: '10 %', flights: 5_000, verdict: (chance: number): MessageVerdict => (chance < 0.1 ? 'drop' : 'pass') },
    {
      loss: '10 %, and 10 % come twice and 30 % late and out of order',
      flights: 5_000,
      verdict: (chance: number): MessageVerdict => {
        if (chance < 0.1) return 'drop';
        if (chance < 0.2) return 'twice';
        return chance < 0.5 ? { delayMs: 100 * (chance - 0.2) } : 'pass';
      },
    },
  ])('$loss are lost, every call gets a right value of its own time', { timeout: 120_000 * SCALE }, async ({ loss, flights, verdict }) => {
    const seed = Date.now() % 1_000_000;
    const random = randomOf(seed);
    let messages = 0;
    link.rules = {
      message() {
        messages++;
        return verdict(random());
      },
    };
    for (let each = 0; each < COLLAPSERS; each++) join(link.url, LOSSY);
    const startedAt = performance.now();
    const { calls, loads, waits } = await manyFlights(flights * SCALE, 100);
    const tookMs = performance.now() - startedAt;
    console.log(
      `${loss} of wake-ups lost (seed ${seed}): ${loads} flights, ${calls} calls, ${messages} wake-ups sent, in ${ms(tookMs)}; 0 hangs, 0 wrong values; a call took p50 ${ms(quantile(waits, 0.5))}, p99 ${ms(quantile(waits, 0.99))}`,
    );
    expect(calls).toBe(flights * SCALE * COLLAPSERS);
    expect(loads).toBeGreaterThanOrEqual(flights * SCALE);
    // Fewer loads than calls: it still collapses.
    expect(loads).toBeLessThan(calls / 2);
    await waitFor(() => collapsers.every((collapser) => collapser.stats().flights === 0));
  });
});

describe('when the reply to a claim and the wake-up', () => {
  /** A recheck, or a lease's end, that came to help would fail the test by its time limit. */
  const PATIENT = { recheckMs: 600_000, leaseMs: 600_000, retainMs: 700_000, commandTimeoutMs: 60_000 };

  it('come in the wrong order, the callers are served by the wake-up, and nobody stays registered', async () => {
    const { leader, follower, letLoadFinish } = await leaderAndFollower();
    let claimed = (): void => {};
    const executed = new Promise<void>((resolve) => (claimed = resolve));
    link.rules = {
      reply(command, reply) {
        if (scriptOf(command) !== 'claim' || isRefusal(reply)) return 'pass';
        claimed();
        return 'hold';
      },
    };
    const answers = [1, 2, 3].map(() => follower.flight('k', never));
    await executed;
    letLoadFinish('the value');
    expect(await Promise.all(answers)).toMatchObject([
      { value: 'the value', source: 'remote' },
      { value: 'the value' },
      { value: 'the value' },
    ]);
    link.rules = {};
    link.release();
    expect(await leader).toBe('the value');
    await nobodyIsRegistered();
  });

  it('come in the right order and the wake-up late, the callers are served when it comes', async () => {
    const { leader, follower, letLoadFinish } = await leaderAndFollower();
    let published = (): void => {};
    const held = new Promise<void>((resolve) => (published = resolve));
    link.rules = {
      message() {
        published();
        return 'hold';
      },
    };
    const answers = [1, 2, 3].map(() => follower.flight('k', never));
    await waitFor(async () => (await registered()) === 1);
    letLoadFinish('the value');
    expect(await leader).toBe('the value');
    await held;
    expect(follower.stats().waiters).toBe(3);
    link.rules = {};
    link.release();
    expect(await Promise.all(answers)).toMatchObject([
      { value: 'the value', source: 'remote' },
      { value: 'the value' },
      { value: 'the value' },
    ]);
    await nobodyIsRegistered();
  });

  /** The leader is not behind the proxy; the follower is. */
  async function leaderAndFollower() {
    const follower = join(link.url, PATIENT);
    // Its connections and scripts are there before the claim that matters.
    await follower.run('warm-up', () => 0);
    let letLoadFinish: (value: string) => void = () => {};
    const loadEnd = new Promise<string>((resolve) => (letLoadFinish = resolve));
    let loadStarted = (): void => {};
    const started = new Promise<void>((resolve) => (loadStarted = resolve));
    const leader = join(server.url, PATIENT).run('k', () => {
      loadStarted();
      return loadEnd;
    });
    await started;
    return { leader, follower, letLoadFinish: (value: string) => letLoadFinish(value) };
  }
});

function join(url: string, options: Partial<RedisCoordinatorOptions>): Collapser {
  const collapser = createCollapser({
    name: 'messages',
    coordinator: redisCoordinator({ redis: () => new Redis(url, { lazyConnect: true }), ...options }),
  });
  collapsers.push(collapser);
  return collapser;
}

/** Each of `count` keys is called once by each collapser at the same time, `parallel` keys at a time. */
async function manyFlights(count: number, parallel: number): Promise<{ calls: number; loads: number; waits: number[] }> {
  const seen = { calls: 0, loads: 0, waits: [] as number[] };
  let next = 0;
  const call = async (collapser: Collapser, key: number): Promise<void> => {
    const startedAt = performance.now();
    const value = await collapser.run(['key', key], async () => {
      seen.loads++;
      await new Promise((resolve) => setTimeout(resolve, 2));
      return { key, endedAt: performance.now() };
    });
    seen.calls++;
    seen.waits.push(performance.now() - startedAt);
    // Right: of this key, and of a load that had not ended when the call began.
    if (value.key !== key || value.endedAt < startedAt)
      throw new Error(`wrong value for ${key}: ${JSON.stringify(value)}, called at ${startedAt}`);
  };
  const worker = async (): Promise<void> => {
    while (next < count) {
      const key = next++;
      await Promise.all(collapsers.map((collapser) => call(collapser, key)));
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return seen;
}

async function registered(): Promise<number> {
  const sizes = await Promise.all((await probe.keys('*:w')).map((key) => probe.hlen(key)));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function nobodyIsRegistered(): Promise<void> {
  await waitFor(async () => (await registered()) === 0);
  expect(collapsers.map((collapser) => collapser.stats())).toMatchObject([
    { flights: 0, waiters: 0 },
    { flights: 0, waiters: 0 },
  ]);
}

function never(): never {
  throw new Error('expected the follower not to load');
}

/** Mulberry32: the seed that is printed makes the same chances again. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
