import type { Claim, Coordinator, Outcome } from '@oneflight/core';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

let server: TestServer;
let client: Redis;
let prefix: string;
let coordinator: Coordinator;
let a: TestReplica;
let b: TestReplica;
let tests = 0;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url);
});

afterAll(async () => {
  client.disconnect();
  await server.stop();
});

beforeEach(() => {
  prefix = `test-${(tests += 1)}`;
  coordinator = redisCoordinator({ redis: client, prefix, commandTimeoutMs: 2_000, leaseMs: 30_000, retainMs: 10_000 });
  a = joinReplica(coordinator);
  b = joinReplica(coordinator);
});

afterEach(async () => {
  await expectAllToExpire();
  await Promise.all([a.link.close(), b.link.close()]);
});

test('the first to claim leads, the second follows it', async () => {
  const lead = leader(await a.link.claim(claimOf('k', a.id(1))));
  expect(lead.attempt).toBe(1);
  expect(lead.fencingToken).toBeGreaterThan(1e15);
  expect(lead.floor).toBe(lead.fencingToken - 1);
  const follow = await b.link.claim(claimOf('k', b.id(1)));
  expect(follow).toEqual({
    role: 'follower',
    flightId: a.id(1),
    min: lead.fencingToken,
    floor: lead.floor,
    leaseLeftMs: expect.any(Number),
  });
});

test('a claim sent again with the same id gets the same token', async () => {
  const first = await a.link.claim(claimOf('k', a.id(1)));
  expect(await a.link.claim(claimOf('k', a.id(1)))).toEqual(first);
});

test('a follower that claims again keeps its min', async () => {
  const lead = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.release({ key: 'k', id: a.id(1) });
  const second = leader(await a.link.claim(claimOf('k', a.id(2))));
  expect(second.fencingToken).toBeGreaterThan(lead.fencingToken);
  expect(await b.link.claim(claimOf('k', b.id(1)))).toMatchObject({ role: 'follower', min: lead.fencingToken });
  expect(await b.link.claim(claimOf('k', b.id(1), { min: lead.fencingToken }))).toMatchObject({ role: 'follower', min: lead.fencingToken });
});

test('a small outcome reaches each replica that waits in one message', async () => {
  const { fencingToken } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await b.link.claim(claimOf('k', b.id(2)));
  expect(await a.link.settle({ key: 'k', id: a.id(1), token: fencingToken, outcome: value('hello') })).toEqual({
    state: 'settled',
    floor: fencingToken - 1,
  });
  const message = await b.hear('settled');
  expect([...message.ids].sort()).toEqual([b.id(1), b.id(2)]);
  expect(message).toMatchObject({ key: 'k', fencingToken, outcome: { kind: 'value' } });
  expect(textOf(message.outcome)).toBe('hello');
  expect(a.heard).toEqual([]);
});

test('a settle sent again publishes nothing more', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  const request = { key: 'k', id: a.id(1), token, outcome: value('hello') };
  await a.link.settle(request);
  expect(await a.link.settle(request)).toEqual({ state: 'detached', floor: token - 1 });
  await settleMessages();
  expect(b.heard.map(({ kind }) => kind)).toEqual(['settled']);
});

test("an outcome above inlineBytesMax is fetched by a claim with the waiter's min", async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  const large = 'x'.repeat(8_193);
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value(large) });
  expect(await b.hear('woken')).toEqual({ kind: 'woken', key: 'k', ids: [b.id(1)] });
  const claim = await b.link.claim(claimOf('k', b.id(1), { min: token }));
  if (claim.role !== 'settled') throw new Error(`got ${claim.role}`);
  expect(claim.fencingToken).toBe(token);
  expect(textOf(claim.outcome)).toBe(large);
});

test('an outcome of exactly inlineBytesMax is published', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value('x'.repeat(8_192)) });
  expect(textOf((await b.hear('settled')).outcome)).toHaveLength(8_192);
});

test('an outcome above payloadBytesMax is said to be untravelable', async () => {
  const small = joinReplica(redisCoordinator({ redis: client, prefix, payloadBytesMax: 10, inlineBytesMax: 10, commandTimeoutMs: 2_000 }));
  const { fencingToken: token } = leader(await small.link.claim(claimOf('k', small.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await small.link.settle({ key: 'k', id: small.id(1), token, outcome: value('x'.repeat(11)) });
  expect((await b.hear('settled')).outcome).toEqual({ kind: 'unshareable', why: 'untravelable' });
  await small.link.close();
});

test.each(['untravelable', 'private'] as const)('an outcome that is %s reaches waiters and rechecks', async (why) => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: { kind: 'unshareable', why } });
  expect((await b.hear('settled')).outcome).toEqual({ kind: 'unshareable', why });
  expect(await b.link.claim(claimOf('k', b.id(1), { min: token }))).toMatchObject({
    role: 'settled',
    outcome: { kind: 'unshareable', why },
  });
});

test('who waited for nothing gets no stored outcome', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value('hello') });
  expect(await b.link.claim(claimOf('k', b.id(2)))).toMatchObject({ role: 'leader' });
});

test('a settle with the right id and an old token answers nobody who may not have it', async () => {
  const first = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.invalidate({ key: 'k' });
  const second = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  const settlement = await a.link.settle({ key: 'k', id: a.id(1), token: first.fencingToken, outcome: value('old') });
  expect(settlement.state).toBe('detached');
  await b.hear('woken');
  expect(b.heard.filter(({ kind }) => kind === 'settled')).toEqual([]);
  const next = await b.link.claim(claimOf('k', b.id(1), { min: second.fencingToken }));
  expect(leader(next).fencingToken).toBeGreaterThan(second.fencingToken);
});

test('a settle of a flight that lost its key still answers its own waiters', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  const floor = await a.link.invalidate({ key: 'k' });
  const next = leader(await a.link.claim(claimOf('k', a.id(2))));
  expect(await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value('hello') })).toEqual({ state: 'detached', floor });
  expect((await b.hear('settled')).ids).toEqual([b.id(1)]);
  expect(await a.link.renew({ key: 'k', id: a.id(2), token: next.fencingToken })).toMatchObject({ state: 'held' });
});

test('a release by a stranger changes nothing', async () => {
  const lead = await a.link.claim(claimOf('k', a.id(1)));
  await b.link.release({ key: 'k', id: b.id(7), failed: true });
  expect(await a.link.claim(claimOf('k', a.id(1)))).toEqual(lead);
});

test('a release wakes one of those who wait, and it leads', async () => {
  const c = joinReplica(coordinator);
  const { fencingToken: min } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await c.link.claim(claimOf('k', c.id(1)));
  await a.link.release({ key: 'k', id: a.id(1) });
  const chosen = await Promise.race([b.hear('woken').then(() => b), c.hear('woken').then(() => c)]);
  await settleMessages();
  expect([...b.heard, ...c.heard].filter(({ kind }) => kind === 'woken')).toHaveLength(1);
  const { fencingToken: token } = leader(await chosen.link.claim(claimOf('k', chosen.id(1), { min })));
  await chosen.link.settle({ key: 'k', id: chosen.id(1), token, outcome: value('hello') });
  const other = chosen === b ? c : b;
  expect((await other.hear('settled')).ids).toEqual([other.id(1)]);
  await c.link.close();
});

test('a wake-up goes past waiters whose process is gone', async () => {
  const gone = joinReplica(coordinator);
  await a.link.claim(claimOf('k', a.id(1)));
  await gone.link.claim(claimOf('k', gone.id(1)));
  await b.link.claim(claimOf('k', b.id(1)));
  await gone.link.close();
  await a.link.release({ key: 'k', id: a.id(1) });
  expect((await b.hear('woken')).ids).toEqual([b.id(1)]);
});

test('the wake-up of a settle goes past waiters whose process is gone too', async () => {
  const gone = joinReplica(coordinator);
  const first = leader(await a.link.claim(claimOf('k', a.id(1))));
  await a.link.release({ key: 'k', id: a.id(1) });
  await a.link.claim(claimOf('k', a.id(2)));
  await gone.link.claim(claimOf('k', gone.id(1)));
  await b.link.claim(claimOf('k', b.id(1)));
  await gone.link.close();
  await a.link.settle({ key: 'k', id: a.id(2), token: first.fencingToken, outcome: value('old') });
  expect((await b.hear('woken')).ids).toEqual([b.id(1)]);
});

test('failed attempts are counted until one settles', async () => {
  for (const attempt of [1, 2, 3]) {
    expect(leader(await a.link.claim(claimOf('k', a.id(attempt)))).attempt).toBe(attempt);
    await a.link.release({ key: 'k', id: a.id(attempt), failed: true });
  }
  await a.link.release({ key: 'k', id: a.id(3), failed: true });
  const { fencingToken: token, attempt } = leader(await a.link.claim(claimOf('k', a.id(4))));
  expect(attempt).toBe(4);
  await a.link.settle({ key: 'k', id: a.id(4), token, outcome: value('hello') });
  expect(leader(await a.link.claim(claimOf('k', a.id(5)))).attempt).toBe(1);
});

test('an invalidation forgets failed attempts', async () => {
  await a.link.claim(claimOf('k', a.id(1)));
  await a.link.release({ key: 'k', id: a.id(1), failed: true });
  await a.link.invalidate({ key: 'k' });
  expect(leader(await a.link.claim(claimOf('k', a.id(2)))).attempt).toBe(1);
});

test('a renewal extends the lease and counts who waits', async () => {
  const { fencingToken: token, floor } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  await client.pexpire(`${prefix}:v1:{k}:l`, 5_000);
  expect(await a.link.renew({ key: 'k', id: a.id(1), token })).toEqual({ state: 'held', floor, waiters: 1 });
  expect(await client.pttl(`${prefix}:v1:{k}:l`)).toBeGreaterThan(25_000);
});

test('a renewal takes back a lease that ended and that nobody took', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await client.del(`${prefix}:v1:{k}:l`);
  expect(await a.link.renew({ key: 'k', id: a.id(1), token })).toMatchObject({ state: 'held' });
  expect(await b.link.claim(claimOf('k', b.id(1)))).toMatchObject({ role: 'follower' });
});

test('a renewal by a stranger, with another token, or without state is detached', async () => {
  const { fencingToken: token, floor } = leader(await a.link.claim(claimOf('k', a.id(1))));
  expect(await b.link.renew({ key: 'k', id: b.id(1), token })).toEqual({ state: 'detached', floor });
  expect(await a.link.renew({ key: 'k', id: a.id(1), token: token - 1 })).toEqual({ state: 'detached', floor });
  expect(await a.link.renew({ key: 'other', id: a.id(1), token })).toEqual({ state: 'detached', floor: undefined });
});

test('an invalidation is told to every replica of the namespace and to no other', async () => {
  const elsewhere = joinReplica(coordinator, 'elsewhere');
  await Promise.all([a, b, elsewhere].map(({ link, id }) => link.claim(claimOf('k', id(1)))));
  const floor = await a.link.invalidate({ key: 'k' });
  expect(await a.hear('invalidated')).toEqual({ kind: 'invalidated', key: 'k', floor });
  expect(await b.hear('invalidated')).toEqual({ kind: 'invalidated', key: 'k', floor });
  await elsewhere.link.invalidate({ key: 'other' });
  await elsewhere.hear('invalidated');
  expect(elsewhere.heard).toHaveLength(1);
  await elsewhere.link.close();
});

test('a claim after an invalidation gets a token above its floor', async () => {
  const floor = await a.link.invalidate({ key: 'k' });
  const lead = leader(await a.link.claim(claimOf('k', a.id(1))));
  expect(lead).toMatchObject({ floor });
  expect(lead.fencingToken).toBeGreaterThan(floor);
});

test('a floor outlives the claims that come after it', async () => {
  await a.link.invalidate({ key: 'k' });
  await a.link.claim(claimOf('k', a.id(1)));
  expect(await client.pttl(`${prefix}:v1:{k}:s`)).toBeGreaterThan(590_000);
});

test('a claim that knows a higher floor heals an invalidation that the server lost', async () => {
  const lead = leader(await a.link.claim(claimOf('k', a.id(1))));
  const floor = lead.fencingToken + 60_000_000;
  const healed = leader(await b.link.claim(claimOf('k', b.id(1), { floor })));
  expect(healed.floor).toBe(floor);
  expect(healed.fencingToken).toBeGreaterThan(floor);
  expect(await a.link.renew({ key: 'k', id: a.id(1), token: lead.fencingToken })).toEqual({ state: 'detached', floor });
});

test('a state that was wiped starts just below its first token', async () => {
  await a.link.claim(claimOf('k', a.id(1)));
  await client.del(`${prefix}:v1:{k}:s`, `${prefix}:v1:{k}:l`);
  const lead = leader(await b.link.claim(claimOf('k', b.id(1), { floor: 5 })));
  expect(lead.floor).toBe(lead.fencingToken - 1);
});

test('a recovered flight stores its outcome although nobody is registered', async () => {
  const { fencingToken: min } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await client.del(`${prefix}:v1:{k}:s`, `${prefix}:v1:{k}:l`);
  const { fencingToken: token } = leader(await b.link.claim(claimOf('k', b.id(1), { min })));
  await b.link.settle({ key: 'k', id: b.id(1), token, outcome: value('hello') });
  expect(await a.link.claim(claimOf('k', a.id(2), { min }))).toMatchObject({ role: 'settled', fencingToken: token });
});

test('an outcome that nobody was served is kept only as long as an unknown waiter may take to ask', async () => {
  const brief = redisCoordinator({ redis: client, prefix, recheckMs: 100, commandTimeoutMs: 250, retainMs: 10_000 });
  const [c, d] = [joinReplica(brief), joinReplica(brief)];
  const first = leader(await c.link.claim(claimOf('alone', c.id(1))));
  await c.link.settle({ key: 'alone', id: c.id(1), token: first.fencingToken, outcome: value('hello') });
  // 4 rechecks, their jitter, and 8 time-outs of a command.
  expect(await client.pttl(`${prefix}:v1:{alone}:r`)).toBeLessThanOrEqual(2_420);
  expect(await client.pttl(`${prefix}:v1:{alone}:r`)).toBeGreaterThan(1_400);
  const second = leader(await c.link.claim(claimOf('shared', c.id(2))));
  await d.link.claim(claimOf('shared', d.id(1)));
  await c.link.settle({ key: 'shared', id: c.id(2), token: second.fencingToken, outcome: value('hello') });
  expect(await client.pttl(`${prefix}:v1:{shared}:r`)).toBeGreaterThan(9_000);
  await Promise.all([c.link.close(), d.link.close()]);
});

test('a leader whose process is gone is absent, and a takeover leads although its lease runs', async () => {
  const gone = joinReplica(coordinator);
  const { fencingToken: min } = leader(await gone.link.claim(claimOf('k', gone.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  expect(await b.link.absent?.([gone.id(1), b.id(1), gone.id(2)])).toEqual([false, false, false]);
  await gone.link.close();
  expect(await b.link.absent?.([gone.id(1), b.id(1)])).toEqual([true, false]);
  expect(await b.link.claim(claimOf('k', b.id(1), { min }))).toMatchObject({ role: 'follower' });
  expect(leader(await b.link.claim(claimOf('k', b.id(1), { min, takeover: true }))).fencingToken).toBeGreaterThan(min);
});

test('a takeover by a replica that hears nothing itself only follows', async () => {
  const gone = joinReplica(coordinator);
  await gone.link.claim(claimOf('k', gone.id(1)));
  await gone.link.close();
  expect(await b.link.claim(claimOf('k', 'unheard#1', { takeover: true }))).toMatchObject({ role: 'follower', flightId: gone.id(1) });
});

test('a takeover of a leader that is there only follows', async () => {
  const { fencingToken: min } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await b.link.claim(claimOf('k', b.id(1)));
  expect(await b.link.claim(claimOf('k', b.id(1), { min, takeover: true }))).toMatchObject({ role: 'follower', flightId: a.id(1) });
});

test('each operation works after the server forgot its scripts', async () => {
  await a.link.claim(claimOf('k', a.id(1)));
  await client.script('FLUSH');
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await client.script('FLUSH');
  await a.link.renew({ key: 'k', id: a.id(1), token });
  await b.link.claim(claimOf('k', b.id(1)));
  await client.script('FLUSH');
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value('hello') });
  expect(textOf((await b.hear('settled')).outcome)).toBe('hello');
  await client.script('FLUSH');
  await a.link.release({ key: 'k', id: a.id(1) });
  await client.script('FLUSH');
  await a.link.invalidate({ key: 'k' });
});

test('nothing is left but what expires within seconds after a key was used once', async () => {
  const { fencingToken: token } = leader(await a.link.claim(claimOf('k', a.id(1))));
  await a.link.settle({ key: 'k', id: a.id(1), token, outcome: value('hello') });
  expect((await client.keys(`${prefix}:*`)).sort()).toEqual([`${prefix}:v1:{k}:r`, `${prefix}:v1:{k}:s`]);
  expect(await client.pttl(`${prefix}:v1:{k}:r`)).toBeLessThanOrEqual(10_000);
  expect(await client.pttl(`${prefix}:v1:{k}:s`)).toBeLessThanOrEqual(60_000);
});

function leader(claim: Claim): Extract<Claim, { role: 'leader' }> {
  if (claim.role !== 'leader') throw new Error(`expected to lead, got ${claim.role}`);
  return claim;
}

function value(text: string): Outcome {
  return { kind: 'value', bytes: Buffer.from(text) };
}

function textOf(outcome: Outcome): string {
  if (outcome.kind === 'unshareable') throw new Error(`got ${outcome.why}`);
  return Buffer.from(outcome.bytes).toString();
}

/** Everything published so far has arrived once an invalidation that was sent after it has. */
async function settleMessages(): Promise<void> {
  const probe = joinReplica(coordinator);
  const floor = await probe.link.invalidate({ key: 'probe' });
  for (const replica of [a, b]) {
    await replica.hear('invalidated');
    const at = replica.heard.findIndex((message) => message.kind === 'invalidated' && message.floor === floor);
    expect(at).toBeGreaterThanOrEqual(0);
    replica.heard.splice(at, 1);
  }
  await probe.link.close();
}

async function expectAllToExpire(): Promise<void> {
  const keys = await client.keys(`${prefix}:*`);
  const lasting = await Promise.all(keys.map(async (key) => ((await client.pttl(key)) === -1 ? key : undefined)));
  expect(lasting.filter((key) => key !== undefined)).toEqual([]);
}
