import { createCollapser, type Collapser } from '@oneflight/core';
import { startRedis, startRespProxy, type RespProxy, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator, type NearOptions } from '../../src/index.js';
import { startFleet } from '../support/fleet.js';

/* Copies of stored values in each process. Commands are counted by a proxy that all connections pass through. */
let server: TestServer;
let control: TestServer;
let link: RespProxy;
let commands: string[] = [];
let collapsers: Collapser[] = [];
let prefixes = 0;

beforeAll(async () => {
  [server, control] = await Promise.all([startRedis(), startRedis()]);
  link = await startRespProxy({ target: server });
});

afterEach(async () => {
  link.rules = {};
  await Promise.all(collapsers.map((collapser) => collapser.close()));
  collapsers = [];
});

afterAll(async () => {
  await link.stop();
  await Promise.all([server.stop(), control.stop()]);
});

const LONG = { ttlMs: 600_000 };

function count(): void {
  commands = [];
  link.rules = { command: ({ name }) => (commands.push(name), 'pass') };
}

function join(count: number, near: boolean | NearOptions = { maxAgeMs: 600_000 }): Collapser[] {
  const prefix = `near-${(prefixes += 1)}`;
  const made = Array.from({ length: count }, () =>
    createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(link.url), prefix, near, commandTimeoutMs: 2_000 }) }),
  );
  collapsers.push(...made);
  return made;
}

describe('8 processes', () => {
  it('answer 1,000 reads of a stored value with one command each at most, and see an invalidation by one of them', async () => {
    const options = { near: { maxAgeMs: 600_000 }, commandTimeoutMs: 2_000 };
    const fleet = await startFleet(8, { url: link.url, controlUrl: control.url, options });
    const everyone = (calls: number) =>
      Promise.all(fleet.replicas.map((replica) => replica.burst({ calls, key: 'hot', loadMs: 1, runOptions: LONG })));
    await everyone(1);
    count();
    for (let read = 0; read < 125; read++) await everyone(1);
    const reads = commands.filter((name) => name === 'EVALSHA').length;
    const askedAt = performance.now();
    await fleet.replicas[3]?.invalidate('hot');
    let stale = 0;
    await waitFor(async () => {
      const numbers = (await everyone(1)).flat().map(({ load }) => load?.number ?? 0);
      stale += numbers.filter((number) => number < 2).length;
      return numbers.every((number) => number >= 2);
    });
    const seenMs = performance.now() - askedAt;
    console.log(
      `1,000 reads in 8 processes took ${reads} commands; an invalidation was seen by all after ${seenMs.toFixed(1)} ms, ${stale} reads were older`,
    );
    expect(reads).toBeLessThanOrEqual(8);
    await fleet.stop();
  }, 60_000);
});

describe('a copy in this process', () => {
  it('answers without a command, once it was read from Redis', async () => {
    const [a, b] = join(2);
    await a?.run('k', () => 'seats', LONG);
    await b?.run('k', () => 'never', LONG);
    count();
    const read = await b?.flight('k', () => 'never', LONG);
    expect([read?.value, read?.source, commands]).toEqual(['seats', 'cache', []]);
  });

  it('is told apart in stats from an answer out of Redis: hits cost no command, the rest is asked for', async () => {
    const [a, b] = join(2);
    await a?.run('k', () => 'seats', LONG);
    await b?.run('k', () => 'never', LONG);
    count();
    for (let read = 0; read < 4; read++) await b?.run('k', () => 'never', LONG);
    expect(b?.stats()).toMatchObject({ totals: { cache: 5 }, copies: { hits: 4, misses: 1, outdated: 0, entries: 1 } });
    expect(commands).toEqual([]);
    await b?.invalidate('k');
    expect(b?.stats().copies).toMatchObject({ hits: 4, misses: 1, invalidated: 1, entries: 0, bytes: 0, bytesMax: 16_777_216 });
    const [without] = join(1, false);
    await without?.run('k', () => 'seats', LONG);
    expect(without?.stats()).not.toHaveProperty('copies');
  });

  it('is gone when invalidate, or invalidateTag, of its key resolves on this replica, and soon on the others', async () => {
    const [a, b] = join(2);
    let version = 1;
    const get = (collapser: Collapser | undefined) => collapser?.run('k', () => `v${version}`, { ...LONG, tags: ['shop'] });
    for (const change of [() => a?.invalidate('k'), () => a?.invalidateTag('shop')]) {
      for (const replica of [a, b, a, b]) await get(replica);
      version++;
      await change();
      expect(await get(a)).toBe(`v${version}`);
      await waitFor(async () => (await get(b)) === `v${version}`);
    }
  });

  it('is not used for a caller that asks for less age, who gets what Redis has without a load', async () => {
    const [a, b] = join(2);
    await a?.run('k', () => 'v1', LONG);
    await b?.run('k', () => 'never', LONG);
    await new Promise((resolve) => setTimeout(resolve, 30));
    await a?.run('k', () => 'v2', { ttlMs: 20 });
    const read = await b?.flight('k', () => 'never', { ttlMs: 20 });
    expect([read?.value, read?.source]).toEqual(['v2', 'cache']);
  });

  it('is not asked by a call that must not miss an invalidation, nor by one that wants no stored value', async () => {
    const [a] = join(1);
    await a?.run('confirmed', () => 'v1', LONG);
    await a?.run('confirmed', () => 'never', LONG);
    count();
    expect(await a?.run('confirmed', () => 'never', { ...LONG, freshness: 'confirmed' })).toBe('v1');
    expect(commands.filter((name) => name === 'EVALSHA')).toHaveLength(1);
    expect(await a?.run('confirmed', () => 'strict', { ...LONG, freshness: 'strict' })).toBe('strict');
    await a?.run('k', () => 'v1', LONG);
    await a?.run('k', () => 'never', LONG);
    expect(await a?.run('k', () => 'v2')).toBe('v2');
  });

  it('that is stale leaves the election to Redis: one refresh for all', async () => {
    const replicas = join(4);
    const options = { ttlMs: 40, staleWhileRevalidateMs: 600_000 };
    let loads = 0;
    const load = async () => ++loads;
    for (const replica of [...replicas, ...replicas]) await replica.run('k', load, options);
    await new Promise((resolve) => setTimeout(resolve, 60));
    const slow = async () => {
      loads++;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return loads;
    };
    const before = loads;
    const answers = await Promise.all(replicas.map((replica) => replica.flight('k', slow, options)));
    expect(answers.map(({ source }) => source)).toEqual(Array(4).fill('stale'));
    await waitFor(() => replicas.every((replica) => replica.stats().flights === 0));
    expect(loads - before).toBe(1);
  });

  it('is not used while the way for messages is broken, nor after it is back', async () => {
    const [a, b] = join(2);
    await a?.run('k', () => 'v1', LONG);
    await b?.run('k', () => 'never', LONG);
    const admin = new Redis(server.url);
    const heard = new Promise<void>((resolve) => {
      const stop = b?.listen((event) => {
        if (event.type !== 'hearing' || event.listening) return;
        stop?.();
        resolve();
      });
    });
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await heard;
    count();
    expect(await b?.run('k', () => 'never', LONG)).toBe('v1');
    expect(commands.filter((name) => name === 'EVALSHA')).toHaveLength(1);
    admin.disconnect();
  });

  it('whose invalidation was lost on its way is used for maxAgeMs at most', async () => {
    const [a, b] = join(2, { maxAgeMs: 400 });
    await a?.run('k', () => 'old', LONG);
    await b?.run('k', () => 'never', LONG);
    const readAt = performance.now();
    let lost = 0;
    link.rules = { message: ({ data }) => (data.toString().startsWith('1 invalidated') ? (lost++, 'drop') : 'pass') };
    await a?.invalidate('k');
    await a?.run('k', () => 'new', LONG);
    const early = await b?.run('k', () => 'never', LONG);
    let lastOldAt = readAt;
    await waitFor(async () => {
      const at = performance.now();
      const value = await b?.run('k', () => 'never', LONG);
      if (value === 'old') lastOldAt = at;
      return value === 'new';
    });
    expect(lastOldAt - readAt).toBeLessThan(400);
    expect([early, lost > 0]).toEqual(['old', true]);
  });
});
