import { FAR_AHEAD, read, value, type Actor, type Clause } from './stage.js';

/** Nothing begun before an invalidation is given to a call made after. */
export const invalidations = {
  'an invalidation returns a floor above every earlier token, and reaches the other replicas': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      const floor = await b.invalidate();
      stage.expect(floor).toBeGreaterThan(fencingToken);
      await stage.until(() => [a, c].every((actor) => floors(actor).length > 0), 'the invalidation to reach the others');
      stage.expect([floors(a), floors(c)]).toEqual([[floor], [floor]]);
      stage.expect(await b.invalidate()).toBeGreaterThan(floor);
    },
  },
  'an invalidation detaches the running flight, which still answers those who waited for it': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await b.follows();
      const floor = await c.invalidate();
      stage.expect(await a.renew(fencingToken)).toEqual({ state: 'detached', floor });
      stage.expect(await a.settle(fencingToken, value('before'))).toEqual({ state: 'detached', floor });
      await stage.until(() => b.outcomes().length > 0, 'the outcome to reach who called before');
      stage.expect(read(b.outcomes()[0]?.outcome)).toBe('value before');
    },
  },
  'a claim after an invalidation leads, and the older flight answers nobody who came after': {
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const before = await a.leads();
      await b.follows();
      const floor = await d.invalidate();
      const after = await c.leads();
      stage.expect(after.floor).toBe(floor);
      stage.expect(after.fencingToken).toBeGreaterThan(floor);
      const waits = await d.follows();
      stage.expect(waits).toMatchObject({ flightId: c.id, min: after.fencingToken, floor });
      await a.settle(before.fencingToken, value('before'));
      await stage.until(() => b.outcomes().length > 0, 'the outcome to reach who called before');
      await stage.quiet();
      stage.expect([d.outcomes(), d.wakes()]).toEqual([[], []]);
      stage.expect(await c.renew(after.fencingToken)).toMatchObject({ state: 'held', floor, waiters: 1 });
    },
  },
  // A failover forgot the invalidation; a replica that saw it repairs the server (D11).
  'a claim with a floor that the server does not know drops the older flight': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      const floor = fencingToken + FAR_AHEAD;
      const claim = await b.leads({ floor });
      stage.expect(claim.floor).toBe(floor);
      stage.expect(claim.fencingToken).toBeGreaterThan(floor);
      stage.expect(await a.renew(fencingToken)).toEqual({ state: 'detached', floor });
      stage.expect(await c.follows()).toMatchObject({ flightId: b.id, floor });
    },
  },
  'a claim with a floor below the running flight leaves it alone': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const known = await a.invalidate();
      await stage.advance(5);
      const { fencingToken } = await a.leads();
      stage.expect(fencingToken - 1).toBeGreaterThan(known);
      stage.expect(await b.follows({ floor: fencingToken - 1 })).toMatchObject({ flightId: a.id, floor: fencingToken - 1 });
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
    },
  },
  'a claim with a floor that the server surpassed learns the higher one': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const lower = await a.invalidate();
      const higher = await a.invalidate();
      stage.expect((await b.leads({ floor: lower })).floor).toBe(higher);
    },
  },
} satisfies Record<string, Clause>;

function floors(actor: Actor): number[] {
  return actor.messages.filter((message) => message.kind === 'invalidated').map(({ floor }) => floor);
}
