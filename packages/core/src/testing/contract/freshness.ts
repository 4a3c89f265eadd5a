import { read, value, type Clause } from './stage.js';

/** Claims that only a load answers which starts later, and the floor that tells whether an outcome is from before an invalidation. */
export const freshness = {
  'a strict claim leads where nobody leads': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads({ strict: true });
      stage.expect((await b.follows()).min).toBe(fencingToken);
    },
  },
  'a strict claim sent again by the leader leads with the same token': {
    async body(stage) {
      const { a } = await stage.actors('a');
      const { fencingToken } = await a.leads({ strict: true });
      stage.expect((await a.leads({ strict: true })).fencingToken).toBe(fencingToken);
    },
  },
  'the running flight answers those who join it and not a strict waiter, who is woken to lead the next': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows({ strict: true });
      stage.expect(min).toBeGreaterThan(fencingToken);
      await c.follows();
      await a.settle(fencingToken, value('before'));
      await stage.until(() => b.wakes().length > 0 && c.outcomes().length > 0, 'one to be woken and one to be answered');
      await stage.quiet();
      stage.expect([b.outcomes(), b.wakes().length, c.wakes()]).toEqual([[], 1, []]);
      stage.expect((await b.leads({ min, strict: true })).fencingToken).toBeGreaterThan(min - 1);
    },
  },
  'all who registered strictly during a flight are answered by the next, and one of them only is woken to lead it': {
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const { fencingToken } = await a.leads();
      const mins = new Map<typeof b, number>();
      for (const actor of [b, c, d]) mins.set(actor, (await actor.follows({ strict: true })).min);
      await a.settle(fencingToken, value('before'));
      const woken = () => [b, c, d].filter((actor) => actor.wakes().length > 0);
      await stage.until(() => woken().length > 0, 'somebody to be woken');
      await stage.quiet();
      const [leader] = woken();
      if (leader === undefined) throw new Error('nobody was woken');
      const others = [b, c, d].filter((actor) => actor !== leader);
      stage.expect([woken().length, others.length]).toEqual([1, 2]);
      const next = await leader.leads({ min: mins.get(leader) ?? 0, strict: true });
      await leader.settle(next.fencingToken, value('after'));
      await stage.until(() => others.every((actor) => actor.outcomes().length > 0), 'the next outcome to reach the others');
      stage.expect(others.map((actor) => read(actor.outcomes()[0]?.outcome))).toEqual(['value after', 'value after']);
    },
  },
  // Raised, it would be passed over again and again (D17).
  'the min of a strict waiter never grows over its claims, whoever leads meanwhile': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const first = await a.leads();
      const { min } = await b.follows({ strict: true });
      await a.settle(first.fencingToken, value('before'));
      await c.leads();
      stage.expect((await b.follows({ min, strict: true })).min).toBe(min);
      stage.expect((await b.follows({ strict: true })).min).toBe(min);
    },
  },
  'a strict waiter that looks again gets the outcome of the next flight, not that of the one it found': {
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows({ strict: true });
      await d.follows();
      await a.settle(fencingToken, value('before'));
      const next = await c.leads();
      stage.expect((await b.follows({ min, strict: true })).flightId).toBe(c.id);
      await c.settle(next.fencingToken, value('after'));
      stage.expect(read((await b.fetches({ min, strict: true })).outcome)).toBe('value after');
    },
  },
  'strict waiters and others mix: a flight answers those it may and leaves the rest to the next': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const [strict, plain] = [b.newId(), b.newId()];
      const { fencingToken } = await a.leads();
      const waits = await b.follows({ id: strict, strict: true });
      await b.follows({ id: plain });
      await a.settle(fencingToken, value('before'));
      await stage.until(() => b.outcomes(plain).length > 0, 'the outcome to reach the one that joined');
      const next = await c.leads();
      stage.expect((await b.follows({ id: strict, min: waits.min, strict: true })).min).toBe(waits.min);
      await c.settle(next.fencingToken, value('after'));
      await stage.until(() => b.outcomes(strict).length > 0, 'the next outcome to reach the strict one');
      await stage.quiet();
      stage
        .expect([plain, strict].map((id) => b.outcomes(id).map(({ outcome }) => read(outcome))))
        .toEqual([['value before'], ['value after']]);
    },
  },
  'a leader that is gone leaves its strict waiters to whoever takes over': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await a.leads();
      const { min } = await b.follows({ strict: true });
      await a.release();
      const next = await c.leads();
      stage.expect(next.fencingToken).toBeGreaterThan(min - 1);
      await c.settle(next.fencingToken, value('after'));
      await stage.until(() => b.outcomes().length > 0, 'the outcome to reach the strict waiter');
    },
  },
  'the floor of a key is that of its last invalidation, below every token issued since': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      stage.expect(await a.floor()).toBe(undefined);
      const floor = await a.invalidate();
      stage.expect(await b.floor()).toBe(floor);
      const { fencingToken } = await a.leads();
      stage.expect(await b.floor()).toBe(floor);
      await a.settle(fencingToken, value('v'));
      stage.expect(await b.floor()).toBe(floor);
      const next = await b.invalidate();
      stage.expect(await a.floor()).toBe(next);
      stage.expect(next).toBeGreaterThan(fencingToken);
    },
  },
  'a key that was led and never invalidated has a floor below the token of its flight': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      const floor = await b.floor();
      stage.expect(floor === undefined || floor < fencingToken).toBe(true);
      await stage.wipe();
      stage.expect(await b.floor()).toBe(undefined);
    },
  },
} satisfies Record<string, Clause>;
