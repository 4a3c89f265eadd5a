import { read, value, type Clause } from './stage.js';

/** Who leads, who follows, and what tells them apart. */
export const claims = {
  'the first claim of a key leads': {
    async body({ actors, expect }) {
      const { a } = await actors('a');
      const claim = await a.leads();
      expect(claim.attempt).toBe(1);
      expect(Number.isSafeInteger(claim.fencingToken)).toBe(true);
      expect(claim.fencingToken).toBeGreaterThan(claim.floor);
    },
  },
  "a second claim follows, with the leader's id, and the leader's token as its min": {
    async body({ actors, expect, timings }) {
      const { a, b } = await actors('a', 'b');
      const { fencingToken } = await a.leads();
      const claim = await b.follows();
      expect(claim).toMatchObject({ flightId: a.id, min: fencingToken });
      expect(claim.leaseLeftMs).toBeGreaterThan(0);
      expect(claim.leaseLeftMs).toBeLessThanOrEqual(timings.leaseMs);
    },
  },
  'exactly one of many claims at the same moment leads': {
    async body({ actors, expect }) {
      const cast = Object.values(await actors('a', 'b', 'c', 'd', 'e'));
      const roles = (await Promise.all(cast.map(actor => actor.claim()))).map(({ role }) => role);
      expect(roles.toSorted()).toEqual(['follower', 'follower', 'follower', 'follower', 'leader']);
    },
  },
  // Else a leader whose reply was lost follows itself (D2).
  'a claim sent again with the same id leads with the same token': {
    async body({ actors, expect }) {
      const { a, b } = await actors('a', 'b');
      const first = await a.leads();
      const [again, copy] = await Promise.all([a.leads(), a.leads()]);
      expect([again.fencingToken, copy.fencingToken]).toEqual([first.fencingToken, first.fencingToken]);
      expect((await b.follows()).min).toBe(first.fencingToken);
    },
  },
  'a follower that claims again is still one waiter': {
    async body({ actors, expect }) {
      const { a, b } = await actors('a', 'b');
      const { fencingToken } = await a.leads();
      await b.follows();
      await b.follows({ min: fencingToken });
      expect(await a.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
    },
  },
  'the tokens of a key grow with every claim and every invalidation': {
    async body({ actors, expect }) {
      const { a, b } = await actors('a', 'b');
      const tokens: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const settled = await a.leads({ id: a.newId() });
        await a.settle(settled.fencingToken, value('v'), a.id.replace(/\d+$/, String(2 + 2 * round)));
        tokens.push(settled.fencingToken);
        tokens.push(await b.invalidate());
      }
      expect(tokens).toEqual([...new Set(tokens)].toSorted((left, right) => left - right));
    },
  },
  'keys do not touch each other': {
    async body({ actors, expect, quiet, key }) {
      const { a, b } = await actors('a', 'b');
      const other = key.split('').toReversed().join('');
      const { fencingToken } = await a.leads();
      await a.leads({ key: other, id: a.newId() });
      await b.follows({ key: other });
      await a.settle(fencingToken, value('v'));
      await a.invalidate();
      await quiet();
      expect([b.outcomes().map(({ outcome }) => read(outcome)), b.wakes()]).toEqual([[], []]);
      await b.follows({ key: other });
    },
  },
} satisfies Record<string, Clause>;
