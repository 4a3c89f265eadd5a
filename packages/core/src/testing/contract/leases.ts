import { SHORT_LEASE, read, value, type Clause } from './stage.js';

/** A leader's right ends, is extended, and passes to another. */
export const leases = {
  'a lease that ends lets the next claimer lead': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await stage.endLease();
      stage.expect((await b.leads()).fencingToken).toBeGreaterThan(fencingToken);
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'detached' });
    },
  },
  'a renewal extends the lease': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await stage.advance(stage.timings.leaseMs / 2);
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held' });
      await stage.advance(stage.timings.leaseMs * 0.6);
      stage.expect((await b.follows()).flightId).toBe(a.id);
    },
  },
  'a claim sent again extends the lease': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      await a.leads();
      await stage.advance(stage.timings.leaseMs / 2);
      await a.leads();
      await stage.advance(stage.timings.leaseMs * 0.6);
      stage.expect((await b.follows()).flightId).toBe(a.id);
    },
  },
  'a renewal takes back a lease that ended and that nobody took': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await stage.endLease();
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held' });
      stage.expect(await b.follows()).toMatchObject({ flightId: a.id, min: fencingToken });
    },
  },
  'a renewal with another id or another token is detached and changes nothing': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      stage.expect(await b.renew(fencingToken)).toMatchObject({ state: 'detached' });
      stage.expect(await a.renew(fencingToken - 1)).toMatchObject({ state: 'detached' });
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held' });
    },
  },
  'a settle after a takeover answers those who waited and leaves the new flight alone': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const old = await a.leads();
      await b.follows();
      await stage.endLease();
      const current = await c.leads();
      await d.follows();
      stage.expect(await a.settle(old.fencingToken, value('late'))).toMatchObject({ state: 'detached' });
      await stage.until(() => b.outcomes().length > 0, 'the late outcome');
      stage.expect(read(b.outcomes()[0]?.outcome)).toBe('value late');
      stage.expect(await c.renew(current.fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
      stage.expect((await a.follows({ id: a.newId() })).flightId).toBe(c.id);
      await c.settle(current.fencingToken, value('current'));
      await stage.until(() => d.outcomes().length > 0, 'the new outcome');
      stage.expect(d.outcomes().map(({ outcome }) => read(outcome))).toEqual(['value current']);
    },
  },
  // Else a waiter is passed over again and again (D17).
  'the min of a waiter never grows over its claims': {
    timings: SHORT_LEASE,
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const old = await a.leads();
      const { min } = await b.follows();
      await stage.endLease();
      const current = await c.leads();
      stage.expect(current.fencingToken).toBeGreaterThan(old.fencingToken);
      stage.expect((await b.follows({ min })).min).toBe(old.fencingToken);
      stage.expect((await b.follows()).min).toBe(old.fencingToken);
      await a.settle(old.fencingToken, value('late'));
      await stage.until(() => b.outcomes().length > 0, 'the outcome that it waited for first');
    },
  },
  'the min of a waiter that the server does not know is the one that it presents': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const old = await a.leads();
      await a.invalidate();
      const current = await c.leads();
      stage.expect((await b.follows({ min: old.fencingToken })).min).toBe(old.fencingToken);
      await a.settle(old.fencingToken, value('old'));
      await stage.until(() => b.outcomes().length > 0, 'the outcome that it waited for');
      stage.expect(await c.renew(current.fencingToken)).toMatchObject({ state: 'held', waiters: 0 });
    },
  },
  // Copies of one claim around an invalidation: same id, two tokens (D12).
  'a settle with the right id and an old token does not answer those who wait for the newer one': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const old = await a.leads();
      await c.invalidate();
      const newer = await a.leads();
      const { min } = await b.follows();
      stage.expect([newer.fencingToken > old.fencingToken, min]).toEqual([true, newer.fencingToken]);
      stage.expect(await a.settle(old.fencingToken, value('stale'))).toMatchObject({ state: 'detached' });
      await stage.until(() => b.wakes().length > 0, 'the follower to be woken, since its leader is done');
      stage.expect(b.outcomes()).toEqual([]);
      stage.expect((await b.leads({ min })).fencingToken).toBeGreaterThan(newer.fencingToken);
    },
  },
} satisfies Record<string, Clause>;
