import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, startRedis, type TestServer } from '@oneflight/testkit';
import { connect } from 'node:net';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import type { RedisCoordinatorOptions } from '../../src/options.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

let port: number;
let servers: TestServer[];
let replicas: TestReplica[];

beforeEach(async () => {
  port = await freePort();
  servers = [];
  replicas = [];
});

afterEach(async () => {
  await Promise.all(replicas.map(({ link }) => link.close()));
  await Promise.all(servers.map((server) => server.stop()));
});

test('without a server connecting throws nothing, claims are refused without waiting, and it works once the server is there', async () => {
  const { link, id, heard } = join(PATIENT);
  await link.opening;
  // A claim that waited for its time-out would fail this test by the test's own limit.
  for (const at of [1, 2, 3]) await expect(link.claim(claimOf('k', id(at)))).rejects.toMatchObject({ reason: 'unavailable' });
  await expect(link.invalidate({ key: 'k' })).rejects.toMatchObject({ reason: 'unavailable' });
  await start();
  expect(await claimOnce(link, id(4))).toMatchObject({ role: 'leader' });
  // What was said before it could hear is lost to it: whoever watches a key has to look.
  expect(heard.map(({ kind }) => kind).filter((kind) => kind !== 'circuit')).toEqual(['listening']);
});

test('closing without a server ends the attempts to connect', async () => {
  const { link, id } = join(PATIENT);
  await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'unavailable' });
  await link.close();
  const server = await start();
  const admin = new Redis(server.url);
  const connected = Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))?.[1]);
  // Its next attempt would have come within 2 s.
  await sleep(2_200);
  expect(Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))?.[1])).toBe(connected);
  admin.disconnect();
});

test('a restart of the server is heard, and claims work again on a server that knows nothing', async () => {
  const server = await start();
  const a = join();
  const b = join();
  expect(await a.link.claim(claimOf('k', a.id(1)))).toMatchObject({ role: 'leader' });
  expect(await b.link.claim(claimOf('k', b.id(1)))).toMatchObject({ role: 'follower' });
  await server.kill9();
  await Promise.all([a.hear('deaf'), b.hear('deaf')]);
  await start();
  await Promise.all([a.hear('listening'), b.hear('listening')]);
  expect(await claimOnce(b.link, b.id(1))).toMatchObject({ role: 'leader' });
  expect(await claimOnce(a.link, a.id(2))).toMatchObject({ role: 'follower', flightId: b.id(1) });
  await b.link.release({ key: 'k', id: b.id(1) });
  expect((await a.hear('woken')).ids).toEqual([a.id(2)]);
});

test('a connector that fails before there is a socket is tried again, but not after close', async () => {
  await start();
  const attempts = { open: 0, closed: 0 };
  const through = (name: keyof typeof attempts) =>
    new Redis({ lazyConnect: true, Connector: failingFirst(port, () => (attempts[name] += 1)) });
  const open = join({ redis: through('open') });
  const closed = join({ redis: through('closed') });
  await Promise.all([open.link.opening, closed.link.opening]);
  await expect(closed.link.claim(claimOf('k', closed.id(1)))).rejects.toMatchObject({ reason: 'unavailable' });
  await closed.link.close();
  expect(await claimOnce(open.link, open.id(1))).toMatchObject({ role: 'leader' });
  expect(attempts).toEqual({ open: 4, closed: 2 });
});

test('a subscriber that is killed alone says deaf and then listening, and hears again', async () => {
  const server = await start();
  const admin = new Redis(server.url);
  const { link, id, hear, heard } = join(PATIENT);
  await link.claim(claimOf('k', id(1)));
  await admin.config('RESETSTAT');
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await hear('listening');
  // It did not take the heartbeat, 5 s later, to subscribe again.
  expect(await admin.info('commandstats')).not.toContain('cmdstat_ping');
  expect(heard.map(({ kind }) => kind)).toEqual(['deaf', 'listening']);
  expect(await link.absent?.([id(1)])).toEqual([false]);
  const floor = await link.invalidate({ key: 'k' });
  expect(await hear('invalidated')).toMatchObject({ floor });
  admin.disconnect();
});

test('a killed command connection comes back, and a claim meanwhile waits for it', async () => {
  const server = await start();
  const admin = new Redis(server.url);
  const { link, id, heard } = join(PATIENT);
  const first = await link.claim(claimOf('k', id(1)));
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  expect(await claimOnce(link, id(1))).toEqual(first);
  expect(heard).toEqual([]);
  admin.disconnect();
});

test('a frozen server makes operations time out, a silent subscriber is found, and both recover', async () => {
  const server = await start();
  const { link, id, hear, heard } = join();
  await link.claim(claimOf('k', id(1)));
  server.pause();
  try {
    await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'timeout' });
    await hear('deaf');
    await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'unavailable' });
    expect(heard.map(({ kind }) => kind).filter((kind) => kind !== 'circuit')).toEqual(['deaf']);
  } finally {
    server.resume();
  }
  await hear('listening');
  expect(await claimOnce(link, id(2), 'other')).toMatchObject({ role: 'leader' });
});

test('a claim whose reply was late finds its own lease when it is sent again', async () => {
  const server = await start();
  const { link, id } = join({ commandTimeoutMs: 50 });
  await link.opening;
  await link.claim(claimOf('warm', id(0)));
  server.pause();
  await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'timeout' });
  server.resume();
  expect(await claimOnce(link, id(1))).toMatchObject({ role: 'leader' });
  expect(await link.claim(claimOf('k', id(2)))).toMatchObject({ role: 'follower', flightId: id(1) });
});

/** A test that waits for such a time-out fails by its own limit. */
const PATIENT = { leaseMs: 600_000, retainMs: 600_000, commandTimeoutMs: 300_000 };

async function start(): Promise<TestServer> {
  const server = await startRedis({ port });
  servers.push(server);
  return server;
}

function join(options: Partial<RedisCoordinatorOptions> = {}): TestReplica {
  const replica = joinReplica(redisCoordinator({ redis: new Redis({ host: '127.0.0.1', port, lazyConnect: true }), ...options }));
  replicas.push(replica);
  return replica;
}

/** A connector whose first attempt fails without a socket, for each connection. */
function failingFirst(to: number, attempt: () => void): NonNullable<RedisOptions['Connector']> {
  return class extends AbstractConnector {
    #attempts = 0;

    constructor() {
      super(100);
    }

    override async connect() {
      attempt();
      this.#attempts += 1;
      if (this.#attempts === 1) throw new Error('no socket');
      this.stream = connect({ host: '127.0.0.1', port: to });
      return this.stream;
    }
  };
}

/** Claims as soon as the server can be reached, as core does for the next call after one that was degraded. */
async function claimOnce(link: TestReplica['link'], id: string, key = 'k') {
  for (;;) {
    try {
      return await link.claim(claimOf(key, id));
    } catch (error) {
      if (!['unavailable', 'timeout'].includes((error as { reason?: string }).reason ?? '')) throw error;
      await sleep(20);
    }
  }
}
