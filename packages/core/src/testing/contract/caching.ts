import type { CacheRead, CacheWrite, Claim, Outcome, StoredLifetimes } from '../../coordinator.js';
import { read, SHORT_LEASE, value, type Actor, type Clause } from './stage.js';

/** What is stored on request, who may read it, and what removes it. */
export const caching = {
  'a settled value that is to be stored answers claims that accept its age, and no others': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, value('seats'), { valueMs: 60_000, errorMs: 0, loadMs: 40 });
      const cached = await b.claim({ cache: FRESH });
      stage.expect(told(cached)).toBe('cached value seats');
      if (cached.role === 'cached') stage.expect(cached.stored.loadMs).toBe(40);
      await b.leads({ id: b.newId() });
    },
  },
  'a claim that is answered from the store registers nobody and leads nothing': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('seats'), LONG);
      await b.claim({ cache: FRESH });
      const { fencingToken } = await c.leads();
      stage.expect(await c.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 0 });
    },
  },
  'a settled value that is not to be stored answers no claim': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await a.settle(fencingToken, value('seats'));
      stage.expect(told(await b.claim({ cache: FRESH }))).toBe('leader');
    },
  },
  'a value is stored for as long as was asked, and its age is told': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, value('seats'), { valueMs: 400, errorMs: 0, loadMs: 0 });
      await stage.advance(200);
      const cached = await b.claim({ cache: FRESH });
      stage.expect(told(cached)).toBe('cached value seats');
      if (cached.role === 'cached') stage.expect(cached.stored.ageMs).toBeGreaterThan(150);
      await stage.advance(300);
      stage.expect(told(await b.claim({ cache: FRESH }))).toBe('leader');
    },
  },
  'a value that is not fresh comes with the right to lead, and while somebody leads it answers the others': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('old'), LONG);
      await stage.advance(20);
      const leads = await b.claim({ cache: STALE });
      stage.expect(told(leads)).toBe('leader with value old');
      stage.expect(told(await c.claim({ cache: STALE }))).toBe('stale value old');
      stage.expect(told(await c.claim({ id: c.newId() }))).toBe('follower');
      if (leads.role === 'leader') await settled(b, leads.fencingToken, value('new'), LONG);
      stage.expect(told(await c.claim({ id: c.newId(), cache: FRESH }))).toBe('cached value new');
    },
  },
  'a value that is stored for much longer than a lease is still served stale while it is refreshed': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('old'), LONG);
      await stage.endLease();
      await stage.endLease();
      stage.expect(told(await b.claim({ cache: STALE }))).toBe('leader with value old');
      stage.expect(told(await c.claim({ cache: STALE }))).toBe('stale value old');
    },
  },
  'a failed load stores its error beside the last value, and answers with the value as long as that is accepted': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, value('old'), LONG);
      await stage.advance(20);
      await stored(b, { kind: 'error', bytes: Buffer.from('failed') }, LONG);
      stage.expect(told(await a.claim({ id: a.newId(), cache: STALE }))).toBe('stale value old');
      const errorOnly = { ...NOTHING, freshErrorMs: 60_000 };
      stage.expect(told(await a.claim({ id: a.newId(), cache: errorOnly }))).toBe('cached error failed');
      stage.expect(told(await a.claim({ id: a.newId(), cache: { ...errorOnly, staleIfErrorMs: 60_000 } }))).toBe('leader with value old');
    },
  },
  'a value that is stored removes an error that was': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, { kind: 'error', bytes: Buffer.from('failed') }, LONG);
      await stored(b, value('well'), LONG);
      stage.expect(told(await a.claim({ id: a.newId(), cache: { ...NOTHING, freshErrorMs: 60_000 } }))).toBe('leader');
    },
  },
  'an invalidation removes what is stored, and a flight from before it stores nothing': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('old'), LONG);
      const { fencingToken } = await b.leads();
      await c.invalidate();
      stage.expect(await settled(b, fencingToken, value('old too'), LONG)).toMatchObject({ state: 'detached' });
      stage.expect(told(await c.claim({ cache: FRESH }))).toBe('leader');
    },
  },
  'a floor that the server lost keeps a stored value from a replica that knows it, and removes it': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const token = await stored(a, value('old'), LONG);
      stage.expect(told(await b.claim({ cache: FRESH, floor: token }))).toBe('leader');
      await b.release();
      stage.expect(told(await c.claim({ cache: FRESH }))).toBe('leader');
    },
  },
  'a flight that was taken over stores nothing, and the value of its successor stays': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const late = await a.leads();
      await stage.endLease();
      await stored(b, value('new'), LONG);
      await settled(a, late.fencingToken, value('late'), LONG);
      stage.expect(told(await c.claim({ cache: FRESH }))).toBe('cached value new');
    },
  },
  'a stored value that is older than what a waiter may get does not answer it': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const token = await stored(a, value('old'), LONG);
      stage.expect(told(await b.claim({ cache: FRESH, min: token + 1 }))).toBe('leader');
    },
  },
  'a value that says itself how long it may be used is never used for longer, whatever a claim accepts': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('own'), own({ ttlMs: 300, staleWhileRevalidateMs: 300, staleIfErrorMs: 600 }));
      stage.expect(told(await b.claim({ cache: EVERYTHING }))).toBe('cached value own');
      await stage.advance(400);
      stage.expect(told(await b.claim({ cache: EVERYTHING }))).toBe('leader with value own');
      stage.expect(told(await c.claim({ cache: EVERYTHING }))).toBe('stale value own');
      await stage.advance(300);
      stage.expect(told(await c.claim({ id: c.newId(), cache: EVERYTHING }))).toBe('follower');
      stage.expect(told(await b.claim({ cache: EVERYTHING }))).toBe('leader with value own');
      await stage.advance(300);
      stage.expect(told(await b.claim({ cache: EVERYTHING }))).toBe('leader');
    },
  },
  'a claim gets no more of a value with lifetimes of its own than it accepts itself': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('own'), own({ ttlMs: 60_000, staleWhileRevalidateMs: 60_000, staleIfErrorMs: 60_000 }));
      await stage.advance(20);
      stage.expect(told(await b.claim({ cache: STALE }))).toBe('leader with value own');
      stage.expect(told(await c.claim({ cache: { ...STALE, staleMs: 1 } }))).toBe('follower');
    },
  },
  'a value that was old when it settled is as old as it says': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, value('own'), { ...own({ ttlMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 }), ageMs: 59_000 });
      const cached = await b.claim({ cache: EVERYTHING });
      stage.expect(told(cached)).toBe('cached value own');
      if (cached.role === 'cached') stage.expect(cached.stored.ageMs).toBeGreaterThan(58_999);
      stage.expect(told(await b.claim({ cache: { ...EVERYTHING, freshMs: 58_000, staleMs: 58_000, staleIfErrorMs: 0 } }))).toBe('leader');
    },
  },
  'a value that answers nobody any more still comes with the right to lead to who wants to ask whether it holds': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await stored(a, value('own'), own({ ttlMs: 0, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 }));
      await stage.advance(20);
      stage.expect(told(await b.claim({ cache: { ...NOTHING, revalidateMs: 60_000 } }))).toBe('leader with value own');
      stage.expect(told(await c.claim({ cache: EVERYTHING }))).toBe('follower');
      await b.release();
      stage.expect(told(await c.claim({ id: c.newId(), cache: { ...NOTHING, revalidateMs: 10 } }))).toBe('leader');
    },
  },
  'a look at what is stored gives it of whatever age, registers nobody and leads nothing': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      stage.expect(await peeked(b)).toBe('nothing');
      await stored(a, value('own'), { ...own({ ttlMs: 1, staleWhileRevalidateMs: 2, staleIfErrorMs: 3 }), loadMs: 40 });
      await stage.advance(20);
      stage.expect(await peeked(b)).toBe('value own, 1, 2, 3');
      const { fencingToken } = await c.leads();
      stage.expect(await peeked(b)).toBe('value own, 1, 2, 3');
      stage.expect(await c.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 0 });
    },
  },
  'a look at what is stored finds nothing from before an invalidation, also one that the server lost': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const token = await stored(a, value('old'), LONG);
      stage.expect(await peeked(b, token)).toBe('nothing');
      stage.expect(await peeked(a)).toBe('value old, free');
      await stored(a, value('newer'), LONG);
      stage.expect(await peeked(b)).toBe('value newer, free');
      await a.invalidate();
      stage.expect(await peeked(b)).toBe('nothing');
    },
  },
  'an outcome that is not shareable is never stored': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await stored(a, { kind: 'unshareable', why: 'private' }, LONG);
      stage.expect(told(await b.claim({ cache: { ...FRESH, freshErrorMs: 60_000 } }))).toBe('leader');
    },
  },
} satisfies Record<string, Clause>;

const NOTHING: CacheRead = Object.freeze({ freshMs: 0, freshErrorMs: 0, staleMs: 0, staleIfErrorMs: 0 });
const FRESH: CacheRead = Object.freeze({ ...NOTHING, freshMs: 60_000, staleMs: 60_000, staleIfErrorMs: 60_000 });
/** Nothing is fresh, much is stale. */
const STALE: CacheRead = Object.freeze({ freshMs: 1, freshErrorMs: 60_000, staleMs: 60_000, staleIfErrorMs: 60_000 });
const LONG: CacheWrite = Object.freeze({ valueMs: 60_000, errorMs: 60_000, loadMs: 0 });

const EVERYTHING: CacheRead = Object.freeze({
  freshMs: 60_000,
  freshErrorMs: 0,
  staleMs: 120_000,
  staleIfErrorMs: 120_000,
  revalidateMs: 0,
});

function own(lifetimes: StoredLifetimes): CacheWrite {
  return { valueMs: 60_000, errorMs: 0, loadMs: 0, lifetimes };
}

async function peeked(actor: Actor, floor = 0): Promise<string> {
  const found = await actor.peek(floor);
  return found === undefined ? 'nothing' : `${read(found.outcome)}, ${Object.values(found.lifetimes ?? ['free']).join(', ')}`;
}

/** Leads a flight with a new id, settles it, and returns its token. */
async function stored(actor: Actor, outcome: Outcome, cache: CacheWrite): Promise<number> {
  const id = actor.newId();
  const { fencingToken } = await actor.leads({ id });
  await settled(actor, fencingToken, outcome, cache, id);
  return fencingToken;
}

function settled(actor: Actor, token: number, outcome: Outcome, cache: CacheWrite, id = actor.id): ReturnType<Actor['settle']> {
  return actor.settle(token, outcome, id, cache);
}

function told(claim: Claim): string {
  if (claim.role === 'cached' || claim.role === 'stale') return `${claim.role} ${read(claim.stored.outcome)}`;
  if (claim.role === 'leader' && claim.stale !== undefined) return `leader with ${read(claim.stale.outcome)}`;
  return claim.role;
}
