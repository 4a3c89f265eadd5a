import { type Collapser, CoordinatorError, createCollapser, type FlightResult } from '@oneflight/core';
import { redisCommand, startCluster, type TestCluster, type TestServer, waitFor } from '@oneflight/testkit';
import { Cluster } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { joinReplica } from '../support/replica.js';

/**
 * One master of a cluster stands still, and the cluster has not noticed: its keys are out of reach until then, while all
 * others answer as ever.
 */
let servers: TestCluster;
let frozen: TestServer | undefined;
let collapser: Collapser;
let states: string[];

beforeAll(async () => {
  servers = await startCluster({ nodeTimeoutMs: 15_000 });
});

afterAll(async () => {
  await servers.stop();
});

beforeEach(() => {
  const redis = new Cluster(
    servers.nodes.map(({ host, port }) => ({ host, port })),
    { lazyConnect: true },
  );
  collapser = createCollapser({ coordinator: redisCoordinator({ redis }) });
  states = [];
  collapser.listen((event) => void (event.type === 'circuit' && states.push(event.state)));
});

afterEach(async () => {
  frozen?.resume();
  await collapser.close({ drainMs: 0 });
  await servers.settled();
});

test('after a few calls the keys of a frozen master are loaded at once, and the keys of the others go through Redis all the while', async () => {
  await Promise.all(Array.from({ length: 60 }, (_, call) => collapser.run(`warm ${call}`, () => 1)));
  frozen = await servers.ownerOf(0);
  frozen.pause();
  const pausedAt = performance.now();

  // Many keys, so that every master has some, and always another one, so that replies of the others keep coming.
  const ended: FlightResult<number>[] = [];
  let calls = 0;
  const ask = async (): Promise<void> => void ended.push(await collapser.flight(`key ${(calls += 1)}`, () => 1));
  await waitFor(
    async () => {
      await Promise.race(Array.from({ length: 6 }, ask));
      return states.includes('open');
    },
    { everyMs: 1, what: 'the circuit to the frozen master to open' },
  );
  ended.length = 0;
  await Promise.all(Array.from({ length: 300 }, ask));
  const degraded = ended.filter(({ source }) => source === 'degraded');
  const led = ended.filter(({ source }) => source === 'leader');
  const waits = degraded.map(({ waitedMs }) => waitedMs).toSorted((a, b) => a - b);
  console.log(
    `frozen for ${Math.round(performance.now() - pausedAt)} ms: ${led.length} led, ${degraded.length} degraded, which waited ${waits[Math.floor(waits.length / 2)]} ms in the middle, ${waits.at(-1)} ms at most`,
  );
  expect(led.length).toBeGreaterThan(100);
  expect(degraded.length).toBeGreaterThan(30);
  // A call that waits for a silence takes 250 ms at least; one that waits for it while others answer, 2 s.
  expect(waits[Math.floor(waits.length / 2)]).toBeLessThan(100);
});

test('a master that was frozen is used again soon after it is back', async () => {
  await collapser.run('warm', () => 1);
  frozen = await servers.ownerOf(0);
  frozen.pause();
  let calls = 0;
  await waitFor(
    async () => {
      await Promise.race([1, 2, 3, 4, 5, 6].map(() => collapser.run(`key ${(calls += 1)}`, () => 1)));
      return states.includes('open');
    },
    { everyMs: 1, what: 'the circuit to open' },
  );
  frozen.resume();
  await waitFor(() => states.at(-1) === 'closed', { what: 'the circuit to close' });
  const sources = await Promise.all(
    Array.from({ length: 60 }, async (_, call) => (await collapser.flight(`again ${call}`, () => 1)).source),
  );
  expect(new Set(sources)).toEqual(new Set(['leader']));
});

test('a frozen replica, which no key depends on, is told to nobody', async () => {
  const replica = await servers.replicaOf(await servers.ownerOf(0));
  // One that has just started is not named to clients yet, by whomever they ask.
  const isNamed = async (): Promise<boolean> => {
    const tables = await Promise.all(servers.nodes.map((node) => redisCommand(node, 'CLUSTER', 'SLOTS')));
    return tables.every((table) => JSON.stringify(table).includes(`,${replica.port},`));
  };
  await waitFor(isNamed, { what: 'the replica to be known' });
  const redis = new Cluster(
    servers.nodes.map(({ host, port }) => ({ host, port })),
    { lazyConnect: true },
  );
  const { link, heard, id } = joinReplica(redisCoordinator({ redis, breaker: { failuresMax: 2 } }));
  await link.opening;
  expect(await link.absent?.([id(1)])).toEqual([false]);
  frozen = replica;
  frozen.pause();
  // Every node is asked who listens, until its circuit is open.
  let isRefused = false;
  const ask = async (): Promise<void> => {
    try {
      await link.absent?.([id(1)]);
    } catch (error) {
      isRefused ||= error instanceof CoordinatorError && error.reason === 'unavailable';
    }
  };
  await waitFor(() => (void ask(), isRefused), { what: 'the replica not to be asked any more' });
  expect(heard).toEqual([]);
  await link.close();
});
