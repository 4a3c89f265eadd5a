import { readFileSync } from 'node:fs';
import { createCollapser } from '@oneflight/core';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { claimOf, joinReplica } from '../support/replica.js';

/** The recipe as users copy it. */
const RECIPE =
  /ACL SETUSER flight on >password([^`]+)```/.exec(readFileSync(new URL('../../../../docs/redis.md', import.meta.url), 'utf8'))?.[1] ?? '';
const RULES = RECIPE.trim().split(/\s+/);
const COMMANDS = RULES.filter((rule) => rule.startsWith('+'));
/** What the client sends on its own while it connects: it goes on without some of them, but is then slower or not named. */
const CONNECTION = ['+hello', '+auth', '+client', '+info', '+select', '+ping', '+script|load', '+eval', '+unsubscribe', '+pubsub|numsub'];

let server: TestServer;
let admin: Redis;
const clients: Redis[] = [];
let users = 0;

beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});

afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});

afterAll(async () => {
  admin.disconnect();
  await server.stop();
});

test('the user of the recipe can do all that is needed, and the server refuses it nothing', async () => {
  const user = await addUser(RULES);
  await admin.acl('LOG', 'RESET');
  await doEverything(user);
  expect(await admin.acl('LOG')).toEqual([]);
});

test.each(COMMANDS.filter((rule) => !CONNECTION.includes(rule)))('without %s something that is needed is refused', async (rule) => {
  const user = await addUser(RULES.filter((other) => other !== rule));
  await admin.acl('LOG', 'RESET');
  await doEverything(user).catch(() => {});
  expect(await admin.acl('LOG')).not.toEqual([]);
});

test.each<[string, (client: Redis) => Promise<unknown>]>([
  ['a foreign key', (client) => client.get('session:1')],
  ['a foreign key from a script', (client) => client.eval("return redis.call('GET', 'session:1')", 0)],
  ['a foreign channel', (client) => client.subscribe('orders')],
  ['publishing to a foreign channel', (client) => client.publish('orders', 'x')],
  ['KEYS', (client) => client.keys('*')],
  ['FLUSHALL', (client) => client.flushall()],
  ['FLUSHALL from a script', (client) => client.eval("return redis.call('FLUSHALL')", 0)],
  ['CONFIG', (client) => client.config('GET', 'requirepass')],
  ['MONITOR', (client) => client.call('MONITOR')],
  ['the list of channels', (client) => client.pubsub('CHANNELS')],
  ['ACL', (client) => client.acl('LIST')],
  ['removing all scripts', (client) => client.script('FLUSH')],
])('%s is refused', async (_, attempt) => {
  const client = connectAs(await addUser(RULES));
  await expect(attempt(client)).rejects.toThrow(/NOPERM|can't run this command|can't access/);
});

test("another application's user can neither publish to us nor read or write our keys", async () => {
  const ours = await addUser(RULES);
  const theirs = connectAs(await addUser(['~other:*', 'resetchannels', '&other:*', '+@all']));
  const replica = joinReplica(redisCoordinator({ redis: connectAs(ours) }));
  await replica.link.claim(claimOf('k', replica.id(1)));
  await expect(theirs.publish(replica.link.inbox, 'x')).rejects.toThrow(/NOPERM/);
  await expect(theirs.hset('oneflight:v1:{k}:r', 't', '1')).rejects.toThrow(/NOPERM/);
  await expect(theirs.get('oneflight:v1:{k}:l')).rejects.toThrow(/NOPERM/);
  expect(replica.heard).toEqual([]);
  await replica.link.close();
});

/** Every script and command, through two replicas: lead, follow, settle small and large, renew, release, take over, store, invalidate. */
async function doEverything(user: string): Promise<void> {
  // Nothing that a refused run left behind may stand in the way of the next.
  const key = user;
  const coordinators = [1, 2].map(() => redisCoordinator({ redis: connectAs(user), commandTimeoutMs: 2_000, leaseMs: 5_000 }));
  const [a, b] = coordinators.map((coordinator) => joinReplica(coordinator)) as [
    ReturnType<typeof joinReplica>,
    ReturnType<typeof joinReplica>,
  ];
  try {
    for (const [number, text] of [
      [1, 'small'],
      [2, 'large'.repeat(4_000)],
    ] as const) {
      const lead = await a.link.claim(claimOf(key, a.id(number)));
      if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
      const follow = await b.link.claim(claimOf(key, b.id(number)));
      if (follow.role !== 'follower') throw new Error(`got ${follow.role}`);
      await a.link.renew({ key, id: a.id(number), token: lead.fencingToken });
      await a.link.settle({ key, id: a.id(number), token: lead.fencingToken, outcome: { kind: 'value', bytes: Buffer.from(text) } });
      await b.link.claim(claimOf(key, b.id(number), { min: follow.min }));
    }
    await a.link.claim(claimOf(key, a.id(3)));
    await b.link.claim(claimOf(key, b.id(3)));
    await a.link.release({ key, id: a.id(3), failed: true });
    await b.link.absent?.([a.id(3)]);
    await b.link.claim(claimOf(key, b.id(3), { takeover: true, floor: Date.now() * 1_000 }));
    await a.link.claim(claimOf(key, a.id(4), { takeover: true }));
    await a.link.invalidate({ key });
    const collapser = createCollapser({ coordinator: redisCoordinator({ redis: connectAs(user), commandTimeoutMs: 2_000 }) });
    for (const _ of [1, 2]) await collapser.run(key, () => 'seats', { ttlMs: 5_000, tags: ['shop'] });
    await collapser.invalidateTag('shop');
    await collapser.close();
  } finally {
    await Promise.all([a.link.close(), b.link.close()]);
  }
}

async function addUser(rules: readonly string[]): Promise<string> {
  const name = `user-${(users += 1)}`;
  await admin.acl('SETUSER', name, 'on', '>password', ...rules);
  return name;
}

function connectAs(username: string): Redis {
  const client = new Redis(server.url, { lazyConnect: true, username, password: 'password', maxRetriesPerRequest: 0 });
  client.on('error', () => {});
  clients.push(client);
  return client;
}
