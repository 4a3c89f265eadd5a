import { SHORT_LEASE, read, value, type Actor, type Clause, type Stage } from './stage.js';

/** One fault costs one load, not one per follower. */
export const recovery = {
  'after a leader is gone one takeover serves all its followers': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const { fencingToken } = await a.leads();
      for (const follower of [b, c, d]) await follower.follows();
      await stage.endLease();
      const takeover = await d.leads({ min: fencingToken });
      stage.expect(await d.renew(takeover.fencingToken)).toMatchObject({ state: 'held', waiters: 2 });
      await d.settle(takeover.fencingToken, value('second'));
      await stage.until(() => [b, c].every((actor) => actor.outcomes().length > 0), 'the outcome to reach the other followers');
      stage.expect([b, c].map((actor) => read(actor.outcomes()[0]?.outcome))).toEqual(['value second', 'value second']);
      stage.expect(d.outcomes()).toEqual([]);
    },
  },
  'the outcome of a flight that took over an ended lease is kept for waiters the server does not know': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await stage.endLease();
      await settlesAlone(b);
      await stillGets(stage, c, fencingToken);
    },
  },
  'the outcome of a flight led by a waiter is kept for waiters the server does not know': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await a.release();
      await settlesAlone(b, fencingToken);
      await stillGets(stage, c, fencingToken);
    },
  },
  'the outcome of the first flight after the server forgot a key is kept for waiters it does not know': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await stage.wipe();
      await settlesAlone(b);
      await stillGets(stage, c, fencingToken);
    },
  },
  // Floor 0 would make an outcome from before a forgotten invalidation look fresh (D16).
  'a key that the server forgot starts again with its floor just below its token': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await stage.wipe();
      stage.expect(await a.renew(fencingToken)).toEqual({ state: 'detached', floor: undefined });
      const claim = await b.leads();
      stage.expect(claim.fencingToken).toBeGreaterThan(fencingToken);
      stage.expect(claim.floor).toBe(claim.fencingToken - 1);
    },
  },
  'a takeover is refused while the leader listens': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      stage.expect(await b.follows({ takeover: true })).toMatchObject({ flightId: a.id, min: fencingToken });
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held' });
    },
  },
  'a takeover is granted, once, when the process of the leader is gone': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows();
      await c.follows();
      await stage.crash(a);
      await untilAbsent(stage, b, a);
      stage.expect((await c.follows({ min })).flightId).toBe(a.id);
      stage.expect((await b.leads({ min, takeover: true })).fencingToken).toBeGreaterThan(fencingToken);
      stage.expect((await c.follows({ min, takeover: true })).flightId).toBe(b.id);
    },
  },
  'a wake-up passes over a waiter whose process is gone': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await a.leads();
      await b.follows();
      await c.follows();
      await stage.crash(b);
      await untilAbsent(stage, a, b);
      await a.release();
      await stage.until(() => c.wakes().length > 0, 'the waiter that is left to be woken');
    },
  },
  'a leader that closed its link counts as gone': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await a.leads();
      await a.link.close();
      await untilAbsent(stage, b, a);
      await b.leads({ takeover: true });
    },
  },
  'a claimer that is given its outcome keeps no lease that an earlier copy of its claim took': {
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows();
      await d.follows();
      await c.invalidate();
      // The reply to this one is lost: b does not know that it leads.
      await b.leads({ min });
      await a.settle(fencingToken, value('old'));
      stage.expect(read((await b.fetches({ min })).outcome)).toBe('value old');
      await c.leads();
    },
  },
} satisfies Record<string, Clause>;

/** Leads and settles with nobody registered. */
async function settlesAlone(actor: Actor, min = 0): Promise<void> {
  const { fencingToken } = await actor.leads({ min });
  await actor.settle(fencingToken, value('recovered'));
}

/** A waiter whose registration was lost comes back with the min that it had. */
async function stillGets(stage: Stage, actor: Actor, min: number): Promise<void> {
  stage.expect(read((await actor.fetches({ min })).outcome)).toBe('value recovered');
}

/** Presence is asked for by those links that can; a server may take a moment to notice. */
async function untilAbsent(stage: Stage, observer: Actor, gone: Actor): Promise<void> {
  if (observer.link.absent === undefined) return stage.quiet();
  for (let step = 0; step < 100; step += 1) {
    const absent = await observer.link.absent([gone.id, observer.id]);
    stage.expect(absent[1]).toBe(false);
    if (absent[0] === true) return;
    await stage.advance(10);
  }
  throw new Error('waited for the leader to be seen as absent, in vain');
}
