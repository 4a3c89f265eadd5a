import { randomBytes } from 'node:crypto';
import type { Outcome } from '../../coordinator.js';
import { FAR_AHEAD, read, value, type Clause, type Stage } from './stage.js';

/** How an outcome reaches those who wait for it, and nobody else. */
export const outcomes = {
  'a settle sends the outcome to every follower, once, and sent again it sends nothing': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const second = c.newId();
      const { fencingToken } = await a.leads();
      await Promise.all([b.follows(), c.follows(), c.follows({ id: second })]);
      stage.expect(await a.settle(fencingToken, value('seats'))).toMatchObject({ state: 'settled' });
      await a.settle(fencingToken, value('seats'));
      const arrived = () => [b.outcomes(), c.outcomes(), c.outcomes(second)];
      await stage.until(() => arrived().every((messages) => messages.length > 0), 'the outcome to reach every follower');
      await stage.quiet();
      for (const messages of arrived()) {
        stage.expect(messages.map((message) => [read(message.outcome), message.fencingToken])).toEqual([['value seats', fencingToken]]);
      }
      stage.expect([a.outcomes(), a.wakes(), b.wakes(), c.wakes()]).toEqual([[], [], [], []]);
    },
  },
  'an outcome arrives byte by byte as it was sent, as a value and as an error': {
    async body(stage) {
      const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      for (const bytes of [everyByte, new Uint8Array(0), everyByte.subarray(10, 20), randomBytes(1_048_576)]) {
        for (const kind of ['value', 'error'] as const) await travels(stage, { kind, bytes });
      }
    },
  },
  'the span that an outcome names arrives with it, by message and by claim, and where it names none there is none': {
    async body(stage) {
      const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
      for (const kind of ['value', 'error'] as const) {
        const bytes = Buffer.from('seats');
        stage.expect(await spansNamed(stage, { kind, bytes, trace })).toEqual([trace, trace]);
        stage.expect(await spansNamed(stage, { kind, bytes })).toEqual([undefined, undefined]);
      }
    },
  },
  'unshareable outcomes reach followers, by message and by claim, and say why': {
    async body(stage) {
      for (const why of ['untravelable', 'private'] as const) await travels(stage, { kind: 'unshareable', why });
    },
  },
  // The wake-up was lost: the recheck finds what it missed.
  'a claim by a follower after the settle gets the outcome': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows();
      await a.settle(fencingToken, value('seats'));
      const claim = await b.fetches({ min });
      stage.expect([read(claim.outcome), claim.fencingToken]).toEqual(['value seats', fencingToken]);
      stage.expect(read((await b.fetches({ min })).outcome)).toBe('value seats');
    },
  },
  'a claim that gets the outcome ends the wait of its id': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows();
      await a.settle(fencingToken, value('seats'));
      const next = await c.leads();
      // A late copy of its first claim registers it again.
      await b.follows();
      await b.fetches({ min });
      stage.expect(await c.renew(next.fencingToken)).toMatchObject({ state: 'held', waiters: 0 });
    },
  },
  'an outcome too large for a message wakes the follower, and its claim gets it': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const { fencingToken } = await a.leads();
      const { min } = await b.follows();
      const outcome: Outcome = { kind: 'value', bytes: randomBytes(262_144) };
      await a.settle(fencingToken, outcome);
      await stage.until(() => b.wakes().length > 0, 'the follower to be woken');
      stage.expect(read((await b.fetches({ min })).outcome) === read(outcome)).toBe(true);
      stage.expect([b.wakes().length, b.outcomes().length]).toEqual([1, 0]);
    },
  },
  'a claimer that never waited does not get an old outcome': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await b.follows();
      await a.settle(fencingToken, value('old'));
      stage.expect((await c.leads()).fencingToken).toBeGreaterThan(fencingToken);
    },
  },
  'an outcome from below its min answers no waiter, by message or by claim': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const { fencingToken } = await a.leads();
      await b.follows();
      await a.settle(fencingToken, value('old'));
      const later = await c.leads({ min: fencingToken + FAR_AHEAD });
      stage.expect(later.fencingToken).toBeGreaterThan(fencingToken + FAR_AHEAD);
      const waits = await a.follows({ id: a.newId() });
      await a.settle(fencingToken, value('old'));
      await stage.quiet();
      stage.expect([waits.min, a.messages]).toEqual([later.fencingToken, []]);
    },
  },
  'an older outcome does not replace a newer one': {
    async body(stage) {
      const { a, b, c } = await stage.actors('a', 'b', 'c');
      const older = await a.leads();
      await b.invalidate();
      const newer = await b.leads();
      const { min } = await c.follows();
      await b.settle(newer.fencingToken, value('newer'));
      // The same id leads once more, as a recovery, whose outcome is kept; then a settle with its first token comes late.
      await a.leads({ min: newer.fencingToken + 1 });
      await a.settle(older.fencingToken, value('older'));
      stage.expect(read((await c.fetches({ min })).outcome)).toBe('value newer');
    },
  },
} satisfies Record<string, Clause>;

/** The spans that an outcome names when it came to a follower: by message, then by claim. */
async function spansNamed(stage: Stage, outcome: Outcome): Promise<(string | undefined)[]> {
  const { a, b } = await stage.actors('a', 'b');
  const { fencingToken } = await a.leads();
  const { min } = await b.follows();
  await a.settle(fencingToken, outcome);
  await stage.until(() => b.outcomes().length > 0, 'the outcome to reach the follower');
  const arrived = [b.outcomes()[0]?.outcome, (await b.fetches({ min })).outcome];
  return arrived.map((one) => (one === undefined || one.kind === 'unshareable' ? undefined : one.trace));
}

/** Takes an outcome both ways to a follower: by message if it is small enough, and by claim. */
async function travels(stage: Stage, outcome: Outcome): Promise<void> {
  const { a, b } = await stage.actors('a', 'b');
  const [leader, follower] = [a.newId(), b.newId()];
  const { fencingToken } = await a.leads({ id: leader });
  const { min } = await b.follows({ id: follower });
  await a.settle(fencingToken, outcome, leader);
  await stage.until(() => b.outcomes(follower).length + b.wakes(follower).length > 0, 'word of the outcome');
  const fetched = await b.fetches({ id: follower, min });
  const [message] = b.outcomes(follower);
  const got = [fetched.outcome, ...(message === undefined ? [] : [message.outcome])];
  // Compared as one boolean: a runner would print a megabyte.
  stage
    .expect(
      got.every((one) => read(one) === read(outcome)),
      `${outcome.kind} arrives as it was sent`,
    )
    .toBe(true);
}
