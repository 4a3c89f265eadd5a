import { newKey, read, value, type Clause } from './stage.js';

/** Who leads, who follows, and what tells them apart. */
export const claims = {
  'the first claim of a key leads': {
    async body(stage) {
      const { a } = await stage.actors('a');
      const claim = await a.leads();
      stage.expect(claim.attempt).toBe(1);
      stage.expect(Number.isSafeInteger(claim.fencingToken)).toBe(true);
      stage.expect(claim.fencingToken).toBeGreaterThan(claim.floor);
    },
  },
  "a second claim follows, with the leader's id, and the leader's token as its min": {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      const claim = await b.follows();
      stage.expect(claim).toMatchObject({ flightId: a.id, min: fencingToken });
      stage.expect(claim.leaseLeftMs).toBeGreaterThan(0);
      stage.expect(claim.leaseLeftMs).toBeLessThanOrEqual(stage.timings.leaseMs);
    },
  },
  'exactly one of many claims at the same moment leads': {
    async body(stage) {
      const actors = Object.values(await stage.actors('a', 'b', 'c', 'd', 'e'));
      const roles = (await Promise.all(actors.map((actor) => actor.claim()))).map(({ role }) => role);
      stage.expect(roles.toSorted()).toEqual(['follower', 'follower', 'follower', 'follower', 'leader']);
    },
  },
  // Else a leader whose reply was lost follows itself (D2).
  'a claim sent again with the same id leads with the same token': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      const again = await Promise.all([a.leads(), a.leads()]);
      stage.expect(again.map((claim) => claim.fencingToken)).toEqual([fencingToken, fencingToken]);
      stage.expect((await b.follows()).min).toBe(fencingToken);
    },
  },
  'a follower that claims again is still one waiter': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      await b.follows();
      await b.follows({ min: fencingToken });
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
    },
  },
  'the tokens of a key grow with every claim and every invalidation': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const tokens: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const [settled, released] = [a.newId(), b.newId()];
        tokens.push((await a.leads({ id: settled })).fencingToken);
        await a.settle(tokens.at(-1) ?? 0, value('v'), settled);
        tokens.push((await b.leads({ id: released })).fencingToken);
        await b.release(released);
        tokens.push(await a.invalidate());
      }
      stage.expect(tokens).toEqual([...new Set(tokens)].toSorted((left, right) => left - right));
    },
  },
  'keys do not touch each other': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const other = { key: newKey() };
      const { fencingToken } = await a.leads();
      await a.leads({ ...other, id: a.newId() });
      await b.follows(other);
      await a.settle(fencingToken, value('v'));
      await a.invalidate();
      await stage.quiet();
      stage.expect([b.outcomes().map(({ outcome }) => read(outcome)), b.wakes()]).toEqual([[], []]);
      await b.follows(other);
    },
  },
  'a closed link refuses what it is asked': {
    async body(stage) {
      const { a } = await stage.actors('a');
      await a.link.close();
      const failure = await a.claim().then(
        () => undefined,
        (error: unknown) => error,
      );
      stage.expect(failure).toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR' });
    },
  },
} satisfies Record<string, Clause>;
