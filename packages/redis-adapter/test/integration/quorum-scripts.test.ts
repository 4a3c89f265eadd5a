import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { cede, fence, propose, rejoin } from '../../src/scripts/generated.js';

const KEYS = { lease: 'l', state: 's', waiters: 'w', outcome: 'r' } as const;
/** Tokens far above the server's clock, so that it has no say. */
const BASE = 4_000_000_000_000_000;

let server: TestServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

beforeEach(async () => {
  await redis.del(Object.values(KEYS));
});

test('a node votes only for a token above every token it knows', async () => {
  expect(await vote('a#1', 5)).toEqual(['lead', token(5)]);
  await redis.del('l');
  expect(await vote('b#1', 5)).toEqual(['behind', token(5)]);
  expect(await vote('b#1', 6)).toEqual(['lead', token(6)]);
});

test('a claimer far behind the clock of a node that has forgotten the key is told to bid higher', async () => {
  expect(await vote('a#1', 5 - BASE)).toEqual(['behind', expect.stringMatching(/^\d{16}$/)]);
});

test('a lease takes another token only when that is asked for, and only a higher one', async () => {
  await vote('a#1', 5);
  expect(await vote('a#1', 7)).toEqual(['lead', token(5)]);
  expect(await vote('a#1', 7, { raise: 1 })).toEqual(['lead', token(7)]);
  expect(await vote('a#1', 6, { raise: 1 })).toEqual(['lead', token(7)]);
});

test('an invalidation needs a token of its own: the same one is refused, since it could be of another', async () => {
  await vote('a#1', 5);
  expect(await fenceAt(6)).toEqual(['invalidated', token(6)]);
  expect(await fenceAt(6)).toEqual(['behind', token(6)]);
  expect(await redis.exists('l')).toBe(0);
});

test('a vote that is handed on keeps its own token while nothing is decided', async () => {
  await vote('a#1', 5);
  expect(await cedeTo('b#1', 0)).toEqual(['ceded']);
  expect(await vote('b#1', 4)).toEqual(['lead', token(5)]);
  expect(await redis.hget('w', 'a#1')).toBe(token(5));
});

test('a vote that is handed to a leader is only good where its token is above what the node knew before', async () => {
  await vote('a#1', 8);
  await redis.del('l');
  await vote('a#1', 9);
  expect(await cedeTo('b#1', 8)).toEqual(['dropped']);
  expect(await redis.exists('l')).toBe(0);
  await vote('a#1', 10);
  expect(await cedeTo('b#1', 10)).toEqual(['ceded']);
  expect(await redis.get('l')).toBe(`b#1 ${token(10)}`);
});

test('who does not hold the vote hands on nothing', async () => {
  await vote('c#1', 5);
  expect(await cedeTo('b#1', 0)).toEqual(['kept']);
  expect(await redis.get('l')).toBe(`c#1 ${token(5)}`);
});

test('a leader joins a node that forgot it, but none that knows a token as high', async () => {
  const joins = (at: number) => redis.eval(rejoin.lua, 2, 'l', 's', 'a#1', token(at), 1_000, 2_000);
  expect(await joins(5)).toEqual(['joined']);
  await redis.del('l');
  expect(await joins(5)).toEqual(['kept']);
  expect(await vote('b#1', 6)).toEqual(['lead', token(6)]);
  expect(await joins(7)).toEqual(['kept']);
});

function token(number: number): string {
  return String(BASE + number);
}

/** The first two fields of the answer: what it is, and which token it is about. */
async function vote(id: string, at: number, { raise = 0 } = {}) {
  const args = {
    id,
    min: 0,
    seen: 0,
    gone: '0',
    token: token(at),
    raise,
    leaseMs: 1_000,
    stateMs: 2_000,
    floorMs: 2_000,
    waitersMs: 1_000,
    strict: 0,
  };
  const reply = await redis.eval(propose.lua, 4, ...propose.keys.map((name) => KEYS[name]), ...propose.args.map((name) => args[name]));
  return Array.isArray(reply) ? reply.slice(0, 2) : reply;
}

function fenceAt(at: number) {
  return redis.eval(fence.lua, 2, 'l', 's', 'key', 'broadcast', token(at), 2_000);
}

function cedeTo(heir: string, heirToken: number) {
  return redis.eval(cede.lua, 3, 'l', 's', 'w', 'key', 'a#1', heir, heirToken === 0 ? 0 : token(heirToken), 1_000);
}
