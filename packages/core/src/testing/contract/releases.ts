import { value, type Actor, type Clause } from './stage.js';

/** Giving up: who is woken, and what stays as it was. */
export const releases = {
  'the release of a leader wakes exactly one waiter, who leads, and the others follow it': {
    async body(stage) {
      const { a, b, c, d } = await stage.actors('a', 'b', 'c', 'd');
      const waiters = [b, c, d];
      const { fencingToken } = await a.leads();
      for (const waiter of waiters) await waiter.follows();
      await a.release();
      await stage.until(() => woken(waiters).length > 0, 'a waiter to be woken');
      await stage.quiet();
      const [chosen, ...others] = woken(waiters);
      stage.expect(others).toEqual([]);
      await chosen?.leads({ min: fencingToken });
      for (const waiter of waiters) {
        if (waiter !== chosen) stage.expect((await waiter.follows({ min: fencingToken })).flightId).toBe(chosen?.id);
      }
    },
  },
  'a woken waiter that gives up passes the wake-up on': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await a.leads();
      await Promise.all([b.follows(), c.follows()]);
      await a.release();
      await stage.until(() => woken([b, c]).length > 0, 'a waiter to be woken');
      await woken([b, c])[0]?.release();
      await stage.until(() => woken([b, c]).length === 2, 'the other waiter to be woken');
    },
  },
  'the release of a follower ends its wait': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await Promise.all([b.follows(), c.follows()]);
      stage.expect(await a.renew(fencingToken)).toMatchObject({ waiters: 2 });
      await b.release();
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
      await a.settle(fencingToken, value('v'));
      await stage.until(() => c.outcomes().length > 0, 'the outcome to reach who stayed');
      await stage.quiet();
      stage.expect(b.messages).toEqual([]);
    },
  },
  'a release by a stranger changes nothing': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await b.follows();
      await c.release(c.id, true);
      await c.release(`${a.link.inbox}#999`);
      await stage.quiet();
      stage.expect(await a.renew(fencingToken)).toMatchObject({ state: 'held', waiters: 1 });
      stage.expect([a.messages, b.messages, c.messages]).toEqual([[], [], []]);
    },
  },
  'a release of a flight that was replaced leaves the new one alone': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      await a.leads();
      await c.invalidate();
      const { fencingToken } = await b.leads();
      await a.release(a.id, true);
      stage.expect(await b.renew(fencingToken)).toMatchObject({ state: 'held' });
      stage.expect((await c.follows()).flightId).toBe(b.id);
    },
  },
  'failed releases count attempts, each once, until a settle or an invalidation': {
    async body(stage) {
      const { a } = await stage.actors('a');
      const attempts: number[] = [];
      const leadAnd = async (end: (id: string, token: number) => Promise<unknown>): Promise<void> => {
        const id = a.newId();
        const claim = await a.leads({ id });
        attempts.push(claim.attempt);
        await end(id, claim.fencingToken);
      };
      const fail = (id: string): Promise<void> => a.release(id, true);
      const failTwice = async (id: string): Promise<void> => fail(id).then(() => fail(id));
      for (const end of [fail, failTwice, (id: string) => a.release(id), fail]) await leadAnd(end);
      await leadAnd((id, token) => a.settle(token, value('v'), id));
      await leadAnd(fail);
      await a.invalidate();
      await leadAnd(fail);
      stage.expect(attempts).toEqual([1, 2, 3, 3, 4, 1, 1]);
    },
  },
} satisfies Record<string, Clause>;

function woken(actors: readonly Actor[]): Actor[] {
  return actors.filter((actor) => actor.wakes().length > 0);
}
