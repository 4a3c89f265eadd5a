import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import type { RedisCoordinatorOptions } from '../../src/options.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

let server: TestServer;
let admin: Redis;
let prefix: string;
let joined: TestReplica[] = [];
let tests = 0;

beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});

afterAll(async () => {
  admin.disconnect();
  await server.stop();
});

beforeEach(() => {
  prefix = `test-${(tests += 1)}`;
  joined = [];
});

afterEach(async () => {
  await Promise.all(joined.map(({ link }) => link.close()));
});

test('two links share two connections, which end with the last of them', async () => {
  const redis = new Redis(server.url, { lazyConnect: true, connectionName: prefix });
  const coordinator = redisCoordinator({ redis, prefix, ...PATIENT });
  const [a, b] = [joinReplica(coordinator), joinReplica(coordinator)];
  await Promise.all([a.link.claim(claimOf('k', a.id(1))), b.link.claim(claimOf('k', b.id(1)))]);
  expect(await connectionsNamed(prefix)).toBe(2);
  await a.link.close();
  expect(await b.link.claim(claimOf('k', b.id(1)))).toMatchObject({ role: 'follower' });
  expect(await b.link.absent?.([a.id(1)])).toEqual([true]);
  await b.link.close();
  await b.link.close();
  await until(async () => (await connectionsNamed(prefix)) === 0);
});

test('a coordinator whose links were all closed can be connected again', async () => {
  const coordinator = redisCoordinator({ redis: new Redis(server.url, { lazyConnect: true }), prefix, ...PATIENT });
  const first = joinReplica(coordinator);
  await first.link.claim(claimOf('k', first.id(1)));
  await first.link.close();
  const second = track(joinReplica(coordinator));
  expect(await second.link.claim(claimOf('k', second.id(1)))).toMatchObject({ role: 'follower', flightId: first.id(1) });
});

test('a link says when it can be used', async () => {
  const { link, id } = join();
  await link.opening;
  expect(await link.absent?.([id(1)])).toEqual([false]);
});

test('a closed link refuses each operation, and nothing of it keeps the process alive', async () => {
  const before = activeResources();
  const { link, id } = join();
  await link.claim(claimOf('k', id(1)));
  expect(activeResources()).not.toEqual(before);
  await link.close();
  for (const operation of [link.claim(claimOf('k', id(1))), link.renew({ key: 'k', id: id(1), token: 1 }), link.invalidate({ key: 'k' })]) {
    await expect(operation).rejects.toMatchObject({ reason: 'unavailable', message: 'this link to Redis was closed' });
  }
  await until(() => Promise.resolve(activeResources().length <= before.length));
});

test("the user's client stays as it is, and its keyPrefix moves nothing", async () => {
  const redis = new Redis(server.url, { lazyConnect: true, keyPrefix: 'user:' });
  const before = { ...redis.options };
  const [a, b] = [join({ redis }), join({ redis })];
  const lead = await a.link.claim(claimOf('k', a.id(1)));
  if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.settle({ key: 'k', id: a.id(1), token: lead.fencingToken, outcome: { kind: 'unshareable', why: 'private' } });
  await b.hear('settled');
  expect(redis.status).toBe('wait');
  expect(redis.options).toEqual(before);
  expect(redis.listenerCount('error')).toBe(0);
  expect(await admin.keys('user:*')).toEqual([]);
  expect(await admin.exists(`${prefix}:v1:{k}:s`)).toBe(1);
});

test('settings of the client that would change replies do no harm', async () => {
  const redis = new Redis(server.url, { lazyConnect: true, stringNumbers: true, replyMapping: 'resp3', enableAutoPipelining: true, db: 3 });
  const [a, b] = [join({ redis }), join({ redis })];
  await a.link.claim(claimOf('k', a.id(1)));
  expect(await b.link.claim(claimOf('k', b.id(1)))).toMatchObject({ role: 'follower', leaseLeftMs: expect.any(Number) });
  expect(await b.link.absent?.([a.id(1)])).toEqual([false]);
});

test('a function that makes the client is called once, and its client is ended', async () => {
  const made: Redis[] = [];
  const coordinator = redisCoordinator({
    redis: () => {
      made.push(new Redis(server.url));
      return made.at(-1) as Redis;
    },
    prefix,
    ...PATIENT,
  });
  expect(made).toEqual([]);
  const [a, b] = [track(joinReplica(coordinator)), track(joinReplica(coordinator))];
  await a.link.claim(claimOf('k', a.id(1)));
  await b.link.claim(claimOf('k', b.id(1)));
  expect(made).toHaveLength(1);
  await until(() => Promise.resolve(made[0]?.status === 'end'));
});

test('the first claim of a tick goes at once, the others share a write, and none waits for the replies to earlier ones', async () => {
  const redis = new Recorder({ port: server.port, host: '127.0.0.1', lazyConnect: true });
  const { link, id } = join({ redis });
  await link.claim(claimOf('warm', id(0)));
  const writes = redis.recordWrites();
  server.pause();
  try {
    const claims = [1, 2, 3, 4].map((at) => link.claim(claimOf(`k${at}`, id(at))));
    expect(writes).toHaveLength(1);
    await nextTurn();
    await nextTurn();
    expect(writes).toHaveLength(2);
    const later = link.claim(claimOf('k5', id(5)));
    await nextTurn();
    await nextTurn();
    expect(writes).toHaveLength(3);
    server.resume();
    expect((await Promise.all([...claims, later])).map(({ role }) => role)).toEqual(['leader', 'leader', 'leader', 'leader', 'leader']);
  } finally {
    server.resume();
  }
});

test('a settle is one write, and tracing sees nothing of its payload', async () => {
  const redis = new Recorder({ port: server.port, host: '127.0.0.1', lazyConnect: true });
  const { link, id } = join({ redis });
  const lead = await link.claim(claimOf('k', id(1)));
  if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
  const seen: string[] = [];
  const channel = 'tracing:ioredis:command:start';
  const watch = (message: unknown) => void seen.push(JSON.stringify(message));
  subscribe(channel, watch);
  const writes = redis.recordWrites();
  await link.settle({ key: 'k', id: id(1), token: lead.fencingToken, outcome: { kind: 'value', bytes: Buffer.from('top secret') } });
  unsubscribe(channel, watch);
  expect(writes).toHaveLength(1);
  expect(writes[0]?.includes('top secret')).toBe(true);
  expect(seen).toHaveLength(1);
  expect(seen.join()).not.toContain('top secret');
});

test('a full server refuses claims; settles and invalidations still end what runs', async () => {
  const [a, b] = [join(), join()];
  const lead = await a.link.claim(claimOf('k', a.id(1)));
  if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
  await b.link.claim(claimOf('k', b.id(1)));
  await admin.config('SET', 'maxmemory', '1');
  try {
    await expect(a.link.claim(claimOf('other', a.id(2)))).rejects.toMatchObject({
      code: 'ERR_ONEFLIGHT_COORDINATOR',
      reason: 'refused',
      message: expect.stringContaining('OOM'),
    });
    await a.link.settle({ key: 'k', id: a.id(1), token: lead.fencingToken, outcome: { kind: 'value', bytes: Buffer.from('hello') } });
    expect((await b.hear('settled')).outcome).toEqual({ kind: 'value', bytes: Buffer.from('hello') });
    const floor = await a.link.invalidate({ key: 'k' });
    expect(floor).toBeGreaterThan(lead.fencingToken);
    expect(await admin.pttl(`${prefix}:v1:{k}:s`)).toBeGreaterThan(590_000);
  } finally {
    await admin.config('SET', 'maxmemory', '0');
  }
});

test('a user who may not run scripts is refused, not unavailable', async () => {
  await admin.acl('SETUSER', 'reader', 'on', '>pass', '~*', '&*', '+@all', '-@scripting');
  const { link, id } = join({ redis: new Redis(server.url, { lazyConnect: true, username: 'reader', password: 'pass' }) });
  await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'refused', message: expect.stringContaining('NOPERM') });
});

test('a user who may not subscribe is told so at once', async () => {
  await admin.acl('SETUSER', 'deaf', 'on', '>pass', '~*', 'resetchannels', '+@all');
  const { link, id } = join({ redis: new Redis(server.url, { lazyConnect: true, username: 'deaf', password: 'pass' }) });
  await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({
    reason: 'unavailable',
    message: expect.stringContaining('NOPERM'),
  });
});

test('a wrong password makes claims unavailable and says why', async () => {
  const { link, id } = join({ redis: new Redis(server.url, { lazyConnect: true, username: 'nobody', password: 'wrong' }) });
  await expect(link.claim(claimOf('k', id(1)))).rejects.toMatchObject({ reason: 'unavailable' });
});

test('a stored outcome that is not ours is reported, and who waited for it is told to load', async () => {
  const { link, id, heard } = join();
  await admin.hset(`${prefix}:v1:{k}:r`, { t: '7', o: 'garbage' });
  await admin.pexpire(`${prefix}:v1:{k}:r`, 60_000);
  expect(await link.claim(claimOf('k', id(1), { min: 5 }))).toMatchObject({
    role: 'settled',
    outcome: { kind: 'unshareable', why: 'untravelable' },
  });
  expect(heard).toEqual([{ kind: 'rejected', reason: 'unknown_version' }]);
});

test('what is no message of ours is rejected and harms nothing', async () => {
  const replica = join();
  await replica.link.claim(claimOf('k', replica.id(1)));
  await admin.publish(replica.link.inbox, 'hello');
  expect(await replica.hear('rejected')).toEqual({ kind: 'rejected', reason: 'malformed' });
  expect(await replica.link.claim(claimOf('k', replica.id(1)))).toMatchObject({ role: 'leader' });
});

/** Long enough that a test which waits for a command time-out fails by its own limit instead. */
const PATIENT = { leaseMs: 60_000, retainMs: 60_000, commandTimeoutMs: 30_000 };

function join(options: Partial<RedisCoordinatorOptions> = {}): TestReplica {
  return track(joinReplica(redisCoordinator({ redis: new Redis(server.url, { lazyConnect: true }), prefix, ...PATIENT, ...options })));
}

function track(replica: TestReplica): TestReplica {
  joined.push(replica);
  return replica;
}

async function connectionsNamed(name: string): Promise<number> {
  return String(await admin.client('LIST'))
    .split('\n')
    .filter((line) => line.includes(` name=${name} `)).length;
}

/** Sockets and pipes that hold the process; timers that are set and not unref'd. */
function activeResources(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => name.includes('Socket') || name.includes('TCP') || name === 'Timeout')
    .sort();
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  while (!(await isDone())) await nextTurn();
}

/** A client that shows what its duplicates write. */
class Recorder extends Redis {
  readonly #duplicates: Redis[] = [];

  override duplicate(changes?: Partial<RedisOptions>): Redis {
    const made = super.duplicate(changes);
    this.#duplicates.push(made);
    return made;
  }

  recordWrites(): Buffer[] {
    const writes: Buffer[] = [];
    for (const duplicate of this.#duplicates) {
      const { stream } = duplicate as unknown as { stream: { write(data: string, encoding: BufferEncoding): boolean } };
      const write = stream.write.bind(stream);
      stream.write = (data, encoding) => {
        writes.push(Buffer.from(data, encoding));
        return write(data, encoding);
      };
    }
    return writes;
  }
}
