import { redisCommand, startCluster, type TestCluster, type TestServer, waitFor } from '@oneflight/testkit';
import { Cluster } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { answers, Crew } from '../support/crew.js';

const REPLICAS = 3;
const CALLS = REPLICAS * 5;

let servers: TestCluster;
let crew: Crew;

beforeAll(async () => {
  servers = await startCluster();
});

afterAll(async () => {
  await servers.stop();
});

beforeEach(async () => {
  await servers.settled();
  crew = new Crew(REPLICAS, () => {
    const redis = new Cluster(
      servers.nodes.map(({ host, port }) => ({ host, port })),
      { lazyConnect: true },
    );
    return redisCoordinator({ redis });
  });
  await collapses('first');
});

afterEach(async () => {
  await crew.close();
});

test('a failover that is asked for in mid-load fails no call, and the load that runs is the only one', async () => {
  const { answered, owner } = await midLoad('seats');
  const next = await servers.replicaOf(owner);
  await redisCommand(next, 'CLUSTER', 'FAILOVER');
  await waitFor(async () => (await redisCommand(next, 'ROLE'))?.toString().startsWith('master'), { what: 'the failover' });
  await servers.settled();
  crew.letLoadsFinish();
  const results = await answered;
  expect([results.length, answers(results)]).toEqual([CALLS, ['value of seats']]);
  expect(crew.loadsOf('seats')).toBe(1);
  await collapses('after');
});

test('a slot that moves in mid-load takes its flight along', async () => {
  const { answered, owner, slot } = await midLoad('seats');
  const to = await anotherMaster(owner);
  const move = await servers.migrate(slot, to);
  await move.finish();
  expect(await servers.ownerOf(slot)).toBe(to);
  crew.letLoadsFinish();
  const results = await answered;
  expect([results.length, answers(results)]).toEqual([CALLS, ['value of seats']]);
  expect(crew.loadsOf('seats')).toBe(1);
  await collapses('seats');
});

test('while a slot is on the move calls are answered, at most one load per process', async () => {
  const { answered, owner, slot } = await midLoad('seats');
  const to = await anotherMaster(owner);
  const move = await servers.migrate(slot, to);
  crew.letLoadsFinish();
  expect(answers(await answered)).toEqual(['value of seats']);
  expect(answers(await crew.burst('seats'))).toEqual(['value of seats']);
  expect(crew.loadsOf('seats')).toBeLessThanOrEqual(2 * REPLICAS);
  await move.finish();
  await waitFor(async () => (await loadsOf('seats')) === 1, { everyMs: 100, timeoutMs: 20_000, what: 'the slot to be collapsed again' });
});

test('a master that is killed in mid-load costs at most one load per process, and collapsing goes on without a restart', async () => {
  const { answered, owner, slot } = await midLoad('seats');
  await owner.kill9();
  await waitFor(async () => (await servers.ownerOf(slot)) !== owner, { timeoutMs: 30_000, everyMs: 50, what: 'a replica to take over' });
  crew.letLoadsFinish();
  const results = await answered;
  expect([results.length, answers(results)]).toEqual([CALLS, ['value of seats']]);
  expect(crew.loadsOf('seats')).toBeLessThanOrEqual(REPLICAS);
  await servers.settled();
  for (const key of ['after 1', 'after 2', 'after 3']) await collapses(key);
  await waitFor(async () => (await loadsOf(`seats again ${Math.random()}`)) === 1, {
    timeoutMs: 20_000,
    what: 'every slot to be collapsed',
  });
});

/** A burst whose load runs and does not end yet. */
async function midLoad(key: string) {
  crew.hold();
  const answered = crew.burst(key);
  await crew.loadStarted;
  const hash = await hashOf();
  const slot = await servers.slotOf(`{${hash}}`);
  return { answered, slot, owner: await servers.ownerOf(slot) };
}

async function anotherMaster(than: TestServer): Promise<TestServer> {
  const masters = await Promise.all([0, 8_000, 16_383].map((slot) => servers.ownerOf(slot)));
  return masters.find((master) => master !== than) ?? than;
}

/** The hash of the one key that is being loaded, as the servers have it. */
async function hashOf(): Promise<string> {
  for (const node of servers.nodes) {
    const keys = await redisCommand(node, 'KEYS', 'oneflight:v1:*:l').catch(() => []);
    const found = /\{([\w-]+)\}/.exec([keys].flat().join(' '))?.[1];
    if (found !== undefined) return found;
  }
  throw new Error('nobody leads');
}

async function loadsOf(key: string): Promise<number> {
  const before = crew.loadsOf(key);
  crew.hold();
  const answered = crew.burst(key);
  // Who waited for an earlier flight may be answered by its outcome.
  await Promise.race([crew.loadStarted, answered]);
  crew.letLoadsFinish();
  await answered;
  return crew.loadsOf(key) - before;
}

async function collapses(key: string): Promise<void> {
  crew.hold();
  const answered = crew.burst(key);
  await crew.loadStarted;
  crew.letLoadsFinish();
  const results = await answered;
  expect([results.length, answers(results)]).toEqual([CALLS, [`value of ${key}`]]);
}
