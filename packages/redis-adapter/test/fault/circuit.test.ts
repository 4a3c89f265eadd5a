import { setImmediate as turn } from 'node:timers/promises';
import { type Collapser, createCollapser } from '@oneflight/core';
import { startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { redisCoordinator, type RedisCoordinatorOptions } from '../../src/index.js';

let server: TestServer;
let collapsers: Collapser[];

beforeEach(async () => {
  server = await startRedis();
  collapsers = [];
});

afterEach(async () => {
  server.resume();
  await Promise.all(collapsers.map((collapser) => collapser.close({ drainMs: 0 })));
  await server.stop();
});

test('a frozen Redis opens the circuit within five calls, calls no longer wait for it, and it is used again soon after it is back', async () => {
  const { collapser, states } = start();
  await collapser.run('warm', () => 1);
  server.pause();
  let calls = 0;
  while (states.at(-1) !== 'open' && calls < 20)
    expect(await collapser.flight(`before ${(calls += 1)}`, () => 1)).toMatchObject({ source: 'degraded' });
  expect(calls).toBeLessThanOrEqual(5);

  const waits: number[] = [];
  for (let call = 0; call < 101; call++) {
    const result = await collapser.flight(`after ${call}`, () => 1);
    expect(result.source).toBe('degraded');
    waits.push(result.waitedMs);
  }
  // A millisecond on an idle machine; a call that waits for a silence takes 250.
  expect(waits.toSorted((a, b) => a - b)[50]).toBeLessThan(10);

  server.resume();
  const resumedAt = performance.now();
  await waitFor(() => states.at(-1) === 'closed', { what: 'the circuit to close' });
  expect(performance.now() - resumedAt).toBeLessThan(5_000);
  await waitFor(async () => (await collapser.flight('again', () => 1)).source === 'leader', { what: 'a flight through Redis' });
});

test('a Redis that died and came back is looked at as soon as the connection is back', async () => {
  // It would be looked for after a minute.
  const { collapser, states } = start({ breaker: { halfOpenAfterMs: 60_000, halfOpenMaxMs: 60_000 } });
  await collapser.run('warm', () => 1);
  await server.kill9();
  let call = 0;
  await waitFor(async () => (await collapser.run(`k${(call += 1)}`, () => 1)) === 1 && states.at(-1) === 'open', {
    everyMs: 1,
    what: 'the circuit to open',
  });
  expect(states).toEqual(['open']);
  await server.restart();
  await waitFor(() => states.at(-1) === 'closed', { what: 'the circuit to close' });
  expect(states).toEqual(['open', 'half_open', 'closed']);
});

test('a process that is busy for longer than a command may take does not take Redis for away', async () => {
  const { collapser, states } = start();
  await collapser.run('warm', () => 1);
  for (let block = 0; block < 3; block++) {
    const calls = Array.from({ length: 40 }, (_, call) => collapser.run(`busy ${block} ${call}`, () => 1));
    await turn();
    const until = performance.now() + 700;
    while (performance.now() < until);
    await Promise.all(calls);
  }
  expect(states).toEqual([]);
});

test('thousands of keys at once are contention and no outage', async () => {
  const { collapser, states } = start();
  await collapser.run('warm', () => 1);
  await Promise.all(Array.from({ length: 4_000 }, (_, call) => collapser.run(`k${call}`, () => 1)));
  expect(states).toEqual([]);
  expect(collapser.stats().totals.degraded).toBe(0);
});

test('a server that refuses is not away', async () => {
  const { collapser, states } = start();
  await collapser.run('warm', () => 1);
  const admin = new Redis(server.url);
  await admin.config('SET', 'maxmemory', '1');
  for (let call = 0; call < 30; call++) expect((await collapser.flight(`k${call}`, () => 1)).source).toBe('degraded');
  await admin.config('SET', 'maxmemory', '0');
  admin.disconnect();
  expect(states).toEqual([]);
  expect((await collapser.flight('k', () => 1)).source).toBe('leader');
});

function start(options: Partial<RedisCoordinatorOptions> = {}) {
  const collapser = createCollapser({ coordinator: redisCoordinator({ redis: new Redis(server.url, { lazyConnect: true }), ...options }) });
  collapsers.push(collapser);
  const states: string[] = [];
  collapser.listen((event) => void (event.type === 'circuit' && states.push(event.state)));
  return { collapser, states };
}
