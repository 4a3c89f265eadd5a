import { createSecretKey } from 'node:crypto';
import { type Collapser, createCollapser, type FlightResult } from '@oneflight/core';
import { startProxy, startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Frames } from '../../src/frames.js';
import { defaultCodec, redisCoordinator, type RedisCoordinatorOptions } from '../../src/index.js';
import { inboxOf } from '../../src/scripts/keys.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

const SECRET = 'correct horse battery staple';
/** Long enough that a test which waits for a recheck or a lease fails by its own limit instead. */
const PATIENT = { leaseMs: 60_000, recheckMs: 20_000, retainMs: 60_000, commandTimeoutMs: 5_000 };

let server: TestServer;
let admin: Redis;
let prefix: string;
let closings: (() => Promise<unknown>)[];
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
  prefix = `secret-${(tests += 1)}`;
  closings = [];
});

afterEach(async () => {
  await Promise.all(closings.map((close) => close()));
});

test('a signed outcome is shared by replicas with the secret', async () => {
  const [a, b] = [collapserWith({ secret: SECRET }), collapserWith({ secret: [SECRET, 'the secret of yesterday'] })];
  const { leads, follows } = await flightOf(a, b);
  expect(leads).toMatchObject({ source: 'leader', value: 'of a' });
  expect(follows).toMatchObject({ source: 'remote', value: 'of a' });
});

test.each<[string, Partial<RedisCoordinatorOptions>, Partial<RedisCoordinatorOptions>]>([
  ['a leader without secret', {}, { secret: SECRET }],
  ['a leader with another secret', { secret: 'quite another secret' }, { secret: SECRET }],
  ['a leader with another secret and large outcomes', { secret: 'quite another secret', inlineBytesMax: 0 }, { secret: SECRET }],
])(
  'a follower of %s loads for itself, at once and without an error',
  async (_, leader, follower) => {
    const [a, b] = [collapserWith(leader), collapserWith(follower)];
    const events: unknown[] = [];
    b.listen((event) => events.push(event));
    const { leads, follows } = await flightOf(a, b);
    expect(leads).toMatchObject({ source: 'leader', value: 'of a' });
    expect(follows).toMatchObject({ source: 'bypass', value: 'of b' });
    expect(events).toContainEqual(expect.objectContaining({ type: 'rejected', reason: 'bad_signature' }));
    expect(b.stats()).toMatchObject({ degraded: false });
    // Its recheck would come after 20 s.
  },
  10_000,
);

test('a follower without secret uses what a leader with a secret signed', async () => {
  const { follows } = await flightOf(collapserWith({ secret: SECRET }), collapserWith({}));
  expect(follows).toMatchObject({ source: 'remote', value: 'of a' });
});

test('large and compressed outcomes are shared, signed, by replicas with different limits', async () => {
  const large = 'seat '.repeat(200_000);
  const [a, b] = [collapserWith({ secret: SECRET, compress: true }), collapserWith({ secret: SECRET })];
  const { follows } = await flightOf(a, b, large);
  expect(follows).toMatchObject({ source: 'remote', value: large });
});

test('whoever may publish but has no secret answers nobody: the follower asks, and goes on waiting', async () => {
  const [a, b] = [collapserWith({ secret: SECRET }), collapserWith({ secret: SECRET })];
  const reasons: string[] = [];
  b.listen((event) => void (event.type === 'rejected' && reasons.push(event.reason)));
  const { follows } = await flightOf(a, b, 'of a', async ({ key, token, waiter }) => {
    for (const secretKeys of [[], [createSecretKey(Buffer.from('the secret of a forger'))]]) {
      const forger = new Frames({ prefix, secretKeys, payloadBytesMax: 1_000, compressBytesMin: Number.POSITIVE_INFINITY });
      const sealed = await forger.seal({ kind: 'value', bytes: defaultCodec.encode('forged') }, { key, id: 'x#1', token, livesMs: 60_000 });
      await admin.publish(inboxOf(waiter), settledMessage(key, token, waiter, sealed?.bytes));
    }
    await waitFor(() => reasons.length === 2, { what: 'both forgeries to be refused' });
  });
  expect(reasons).toEqual(['bad_signature', 'bad_signature']);
  expect(follows).toMatchObject({ source: 'remote', value: 'of a' });
});

test('an outcome that was recorded and is sent again is refused by its token, or carries one below the min', async () => {
  const [a, b] = [join({ secret: SECRET }), join({ secret: SECRET })];
  const recorded = await recordOutcome(a, b);
  const second = await a.link.claim(claimOf('k', a.id(2)));
  const waiting = await b.link.claim(claimOf('k', b.id(2)));
  if (second.role !== 'leader' || waiting.role !== 'follower') throw new Error('expected a second flight');
  await admin.publish(b.link.inbox, settledMessage('k', second.fencingToken, b.id(2), recorded.frame));
  expect(await b.hear('rejected')).toEqual({ kind: 'rejected', reason: 'stale_token' });
  b.heard.length = 0;
  await admin.publish(b.link.inbox, settledMessage('k', recorded.token, b.id(2), recorded.frame));
  // Core compares it with the min, as it does with every message that is late.
  expect((await b.hear('settled')).fencingToken).toBeLessThan(waiting.min);
});

test('an outcome that was recorded and is stored again is refused by its token', async () => {
  const [a, b] = [join({ secret: SECRET }), join({ secret: SECRET })];
  const recorded = await recordOutcome(a, b);
  await a.link.claim(claimOf('k', a.id(2)));
  const waiting = await b.link.claim(claimOf('k', b.id(2)));
  if (waiting.role !== 'follower') throw new Error(`got ${waiting.role}`);
  await admin.hset(`${prefix}:v1:{k}:r`, { t: String(waiting.min), o: recorded.frame });
  expect(await b.link.claim(claimOf('k', b.id(2), { min: waiting.min }))).toMatchObject({
    role: 'settled',
    outcome: { kind: 'unshareable', why: 'untravelable' },
  });
  expect(await b.hear('rejected')).toEqual({ kind: 'rejected', reason: 'stale_token' });
});

test('an outcome of another key of the same namespace is refused', async () => {
  const [a, b] = [join({ secret: SECRET }), join({ secret: SECRET })];
  const recorded = await recordOutcome(a, b);
  await admin.hset(`${prefix}:v1:{other}:r`, { t: String(recorded.token), o: recorded.frame });
  await admin.pexpire(`${prefix}:v1:{other}:r`, 60_000);
  await b.link.claim(claimOf('other', b.id(3), { min: 5 }));
  expect(await b.hear('rejected')).toEqual({ kind: 'rejected', reason: 'key_mismatch' });
});

test('an outcome that overtakes the reply is believed only if it is not an old one', async () => {
  const proxy = await startProxy({ target: server });
  closings.push(() => proxy.stop());
  const a = join({ secret: SECRET });
  const b = join({ secret: SECRET, redis: new Redis(proxy.url, { lazyConnect: true }) });
  const recorded = await recordOutcome(a, b);
  const second = await a.link.claim(claimOf('k', a.id(2)));
  if (second.role !== 'leader') throw new Error(`got ${second.role}`);
  const [commanding] = proxy.connections;
  commanding?.pauseToClient();
  const asked = b.link.claim(claimOf('k', b.id(2)));
  await waitFor(() => admin.hexists(`${prefix}:v1:{k}:w`, b.id(2)), { what: 'the claim to be executed' });
  b.heard.length = 0;
  await admin.publish(b.link.inbox, settledMessage('k', recorded.token, b.id(2), recorded.frame));
  await admin.publish(b.link.inbox, 'a mark');
  await b.hear('rejected');
  commanding?.resume();
  expect(await asked).toMatchObject({ role: 'follower', min: second.fencingToken });
  expect(b.heard).toEqual([{ kind: 'rejected', reason: 'malformed' }]);

  commanding?.pauseToClient();
  const again = b.link.claim(claimOf('k', b.id(3)));
  await waitFor(() => admin.hexists(`${prefix}:v1:{k}:w`, b.id(3)), { what: 'the claim to be executed' });
  await a.link.settle({ key: 'k', id: a.id(2), token: second.fencingToken, outcome: { kind: 'value', bytes: Buffer.from('new') } });
  expect((await b.hear('settled')).ids).toEqual([b.id(2)]);
  commanding?.resume();
  await again;
  expect(b.heard.flatMap((message) => (message.kind === 'settled' ? message.ids : []))).toEqual([b.id(2), b.id(3)]);
});

test('a value that somebody without the secret stored answers nobody: it is loaded', async () => {
  const [forger, honest] = [collapserWith({ secret: 'the secret of a forger' }), collapserWith({ secret: SECRET })];
  const stored = { ttlMs: 60_000 };
  expect(await forger.run('k', () => 'forged', stored)).toBe('forged');
  expect((await forger.flight('k', () => 'forged', stored)).source).toBe('cache');
  const reasons: string[] = [];
  honest.listen((event) => void (event.type === 'rejected' && reasons.push(event.reason)));
  expect(await honest.flight('k', () => 'loaded', stored)).toMatchObject({ value: 'loaded' });
  expect(reasons).toContain('bad_signature');
});

test('no error and no warning shows the secret or what was loaded', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error) => void warnings.push(String(warning.stack));
  process.on('warning', onWarning);
  const { link, id } = join({ secret: SECRET });
  const lead = await link.claim(claimOf('k', id(1)));
  if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
  server.pause();
  const settled = link.settle({
    key: 'k',
    id: id(1),
    token: lead.fencingToken,
    outcome: { kind: 'value', bytes: Buffer.from('top secret seats') },
  });
  const closed = link.close();
  const error = await settled.catch((reason: unknown) => reason);
  server.resume();
  await closed;
  process.off('warning', onWarning);
  const printed = [String(error), JSON.stringify(error), ...warnings].join('\n');
  expect(error).toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR' });
  expect(printed).not.toContain('top secret');
  expect(printed).not.toContain('horse');
});

function collapserWith(options: Partial<RedisCoordinatorOptions>): Collapser {
  const collapser = createCollapser({ coordinator: coordinatorWith(options) });
  closings.push(() => collapser.close({ drainMs: 0 }));
  return collapser;
}

function join(options: Partial<RedisCoordinatorOptions>): TestReplica {
  const replica = joinReplica(coordinatorWith(options));
  closings.push(() => replica.link.close());
  return replica;
}

function coordinatorWith(options: Partial<RedisCoordinatorOptions>) {
  return redisCoordinator({ redis: new Redis(server.url, { lazyConnect: true }), prefix, ...PATIENT, ...options });
}

interface Followed {
  readonly key: string;
  readonly token: number;
  readonly waiter: string;
}

/** One flight that `a` leads and `b` follows; `meddle` acts while both wait for the load. */
async function flightOf(a: Collapser, b: Collapser, value = 'of a', meddle: (flight: Followed) => Promise<void> = async () => {}) {
  const load = withResolvers<string>();
  const loading = withResolvers<void>();
  const leads: Promise<FlightResult<string>> = a.flight('k', () => (loading.resolve(), load.promise));
  await loading.promise;
  const follows = b.flight('k', () => 'of b');
  const followed = await waitFor(findWaiter, { what: 'b to follow' });
  if (followed === undefined) throw new Error('expected b to follow');
  await meddle(followed);
  load.resolve(value);
  return { leads: await leads, follows: await follows };
}

async function findWaiter(): Promise<Followed | undefined> {
  const [name] = await admin.keys(`${prefix}:v1:*:w`);
  const key = /\{(.*)\}/.exec(name ?? '')?.[1];
  if (name === undefined || key === undefined) return undefined;
  const [waiter] = await admin.hkeys(name);
  const token = Number(await admin.hget(name.replace(/w$/, 's'), 't'));
  return waiter === undefined ? undefined : { key, token, waiter };
}

/** What somebody who listens to everything gets to see of a flight of the key `k`. */
async function recordOutcome(a: TestReplica, b: TestReplica): Promise<{ token: number; frame: Buffer }> {
  const lead = await a.link.claim(claimOf('k', a.id(1)));
  if (lead.role !== 'leader') throw new Error(`got ${lead.role}`);
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.settle({ key: 'k', id: a.id(1), token: lead.fencingToken, outcome: { kind: 'value', bytes: Buffer.from('old') } });
  await b.hear('settled');
  b.heard.length = 0;
  const frame = await admin.hgetBuffer(`${prefix}:v1:{k}:r`, 'o');
  if (frame === null) throw new Error('expected a stored outcome');
  return { token: lead.fencingToken, frame };
}

function settledMessage(key: string, token: number, waiter: string, frame: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from(`1 settled ${key} ${token} ${waiter.slice(inboxOf(waiter).length + 1)}\n`), frame]);
}

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
