import { redisCommand, startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { quorumCoordinator } from '../../src/index.js';
import { answers, Crew } from '../support/crew.js';

const REPLICAS = 5;
const CALLS = REPLICAS * 3;

let servers: TestServer[];
let crew: Crew;
/** Servers that would not answer. */
const frozen = new Set<number>();

beforeEach(async () => {
  servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
  crew = newCrew(REPLICAS);
  await loadsOf('first');
});

afterEach(async () => {
  await crew.close();
  await Promise.all(servers.map((server) => server.stop()));
});

test('a crowd that comes at once for many keys loads each of them once, however the votes split', async () => {
  const keys = Array.from({ length: 40 }, (_, at) => `key ${at}`);
  const others = await queues();
  crew.hold();
  const bursts = keys.map((key) => crew.burst(key, 2));
  await waitFor(() => keys.every((key) => crew.loadsOf(key) > 0), { what: 'every key to be loaded' });
  await waitFor(async () => (await waiting(others)) >= keys.length * (REPLICAS - 1), { what: 'everybody else to wait' });
  crew.letLoadsFinish();
  for (const [at, burst] of bursts.entries()) expect(answers(await burst)).toEqual([`value of key ${at}`]);
  expect(keys.filter((key) => crew.loadsOf(key) !== 1)).toEqual([]);
});

test('one node of three that is gone is missed by nobody: one load, and its outcome reaches all', async () => {
  await servers[0]?.kill9();
  for (const key of ['a', 'b', 'c', 'd']) expect(await loadsOf(key)).toBe(1);
});

test('one node of three that is killed in mid-load loses nothing', async () => {
  for (const at of [0, 1, 2]) {
    const answered = await midLoad(`seats ${at}`);
    await servers[at]?.kill9();
    crew.letLoadsFinish();
    expect(answers(await answered.results)).toEqual([`value of seats ${at}`]);
    expect(crew.loadsOf(`seats ${at}`)).toBe(1);
    await servers[at]?.restart();
    await waitFor(() => listensOn(at), { what: 'everybody to listen there again' });
  }
});

test('one node of three that freezes in mid-load loses nothing', async () => {
  const answered = await midLoad('seats');
  servers[1]?.pause();
  frozen.add(1);
  try {
    crew.letLoadsFinish();
    expect(answers(await answered.results)).toEqual(['value of seats']);
    expect(crew.loadsOf('seats')).toBe(1);
    expect(await loadsOf('after')).toBe(1);
  } finally {
    servers[1]?.resume();
    frozen.clear();
  }
});

test('a node that comes back empty in mid-load does not end the flight, and votes for it again', async () => {
  const answered = await midLoad('seats');
  await servers[2]?.restart();
  await waitFor(async () => (await leasesOn(2)) === 1, { timeoutMs: 20_000, what: 'the node to vote for the leader again' });
  const late = crew.burst('seats');
  crew.letLoadsFinish();
  expect(answers([...(await answered.results), ...(await late)])).toEqual(['value of seats']);
  expect(crew.loadsOf('seats')).toBe(1);
});

test('without a majority no call fails: at most one load per process, and collapsing is back without a restart', async () => {
  const answered = await midLoad('seats');
  await Promise.all([servers[0]?.kill9(), servers[1]?.kill9()]);
  crew.letLoadsFinish();
  expect(answers(await answered.results)).toEqual(['value of seats']);
  expect(crew.loadsOf('seats')).toBeLessThanOrEqual(REPLICAS);
  expect(await loadsOf('meanwhile')).toBe(REPLICAS);
  await servers[0]?.restart();
  let round = 0;
  const isOneLoad = async (): Promise<boolean> => (await loadsOf(`after ${(round += 1)}`)) === 1;
  await waitFor(isOneLoad, { timeoutMs: 30_000, everyMs: 100, what: 'calls to be collapsed again' });
});

function newCrew(size: number): Crew {
  return new Crew(size, () => {
    const [a, b, c] = servers.map(({ host, port }) => new Redis({ host, port, lazyConnect: true }));
    if (a === undefined || b === undefined || c === undefined) throw new Error('expected three servers');
    return quorumCoordinator({ nodes: [a, b, c] });
  });
}

/** A burst whose load runs, and everybody else waits for it. */
async function midLoad(key: string) {
  const others = await queues();
  crew.hold();
  const results = crew.burst(key, 3);
  await crew.loadStarted;
  await waitFor(async () => (await waiting(others)) >= REPLICAS - 1, { what: 'everybody else to wait' });
  return { results };
}

/** How many loads one burst takes; every call of it must be answered with its value. */
async function loadsOf(key: string): Promise<number> {
  const before = crew.loadsOf(key);
  const others = await queues();
  crew.hold();
  const results = crew.burst(key, 3);
  await Promise.race([crew.loadStarted, results]);
  // Whoever asks after the load has ended rightly loads again: all shall have asked, or loaded, before it does.
  const haveAsked = async (): Promise<boolean> => crew.loadsOf(key) - before + (await waiting(others)) >= REPLICAS;
  await waitFor(haveAsked, { what: 'everybody to ask' });
  crew.letLoadsFinish();
  const settled = await results;
  expect([settled.length, answers(settled)]).toEqual([CALLS, [`value of ${key}`]]);
  return crew.loadsOf(key) - before;
}

/** How many waiters the node knows that knows most, without those of bursts before, who may not have left yet. */
async function waiting(others: ReadonlySet<string>): Promise<number> {
  const counts = await Promise.all(
    awake().map(async (server) => {
      const mine = (await queuesOn(server)).filter((queue) => !others.has(queue));
      const lengths = await Promise.all(mine.map((queue) => redisCommand(server, 'HLEN', queue).catch(() => 0)));
      return lengths.reduce<number>((sum, length) => sum + Number(length), 0);
    }),
  );
  return Math.max(...counts);
}

/** The names of the keys under which somebody waits, on any node. */
async function queues(): Promise<ReadonlySet<string>> {
  return new Set((await Promise.all(awake().map(queuesOn))).flat());
}

async function queuesOn(server: TestServer): Promise<string[]> {
  return [await redisCommand(server, 'KEYS', '*:w').catch(() => [])].flat().map(String);
}

function awake(): TestServer[] {
  return servers.filter((_, at) => !frozen.has(at));
}

async function leasesOn(at: number): Promise<number> {
  const server = servers[at];
  return server === undefined ? 0 : [await redisCommand(server, 'KEYS', '*:l').catch(() => [])].flat().length;
}

async function listensOn(at: number): Promise<boolean> {
  const server = servers[at];
  if (server === undefined) return false;
  const channels = [await redisCommand(server, 'PUBSUB', 'CHANNELS', '*:i:*').catch(() => [])].flat();
  return channels.length === REPLICAS;
}
