import type { KeyHash, TagIndex } from '../../coordinator.js';
import { newKey, type Actor, type Clause, type Stage } from './stage.js';

/** Which keys carry a tag: what an invalidation of the tag finds, and what a load that is under way is told of it. */
export const tags = {
  'the tag clock moves with each invalidation of a tag, and every replica reads the same': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const first = await index(a).advance();
      stage.expect(await index(b).time()).toBe(first);
      stage.expect(await index(b).advance()).toBeGreaterThan(first);
      stage.expect(await index(a).time()).toBeGreaterThan(first);
    },
  },
  'an invalidation of a tag finds the keys that carry it, until they were invalidated': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const [tag, other] = [newKey(), newKey()];
      const keys = Array.from({ length: 10 }, newKey);
      for (const key of keys) await index(a).attach({ key, tags: [tag, other], livesMs: LONG_MS });
      stage.expect((await invalidated(stage, b, tag)).toSorted()).toEqual(keys.toSorted());
      stage.expect(await invalidated(stage, a, tag)).toEqual([]);
      stage.expect((await invalidated(stage, a, other)).toSorted()).toEqual(keys.toSorted());
    },
  },
  'a key that is noted while its tag is invalidated is told of it, and waits for the next invalidation': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const [tag, before, after] = [newKey(), newKey(), newKey()];
      stage.expect(await index(a).attach({ key: before, tags: [tag], livesMs: LONG_MS })).toBe(0);
      const token = await index(b).advance();
      const batches = await index(b).detach({ tag, token });
      stage.expect(await index(a).attach({ key: after, tags: [newKey(), tag], livesMs: LONG_MS })).toBe(token);
      stage.expect(await taken(b, tag, batches)).toEqual([before]);
      stage.expect(await invalidated(stage, b, tag)).toEqual([after]);
    },
  },
  'a key that asks without being noted is told of invalidations, and is found by none': {
    async body(stage) {
      const { a } = await stage.actors('a');
      const [tag, key] = [newKey(), newKey()];
      stage.expect(await index(a).attach({ key, tags: [tag], livesMs: 0 })).toBe(0);
      stage.expect(await invalidated(stage, a, tag)).toEqual([]);
      stage.expect(await index(a).attach({ key, tags: [tag], livesMs: 0 })).toBe(await index(a).time());
    },
  },
  'what an invalidation that was broken off has left is found by the next': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const [tag, early, late] = [newKey(), newKey(), newKey()];
      await index(a).attach({ key: early, tags: [tag], livesMs: LONG_MS });
      const [batch = ''] = await index(a).detach({ tag, token: await index(a).advance() });
      stage.expect(await index(a).take({ tag, batch, done: [] })).toEqual([early]);
      await index(a).attach({ key: late, tags: [tag], livesMs: LONG_MS });
      stage.expect((await invalidated(stage, b, tag)).toSorted()).toEqual([early, late].toSorted());
    },
  },
  // One invalidates an older batch; the key is stored anew meanwhile, and a second invalidation must find it.
  'a key that was noted again is not taken out by an older invalidation': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const [tag, key] = [newKey(), newKey()];
      await index(a).attach({ key, tags: [tag], livesMs: LONG_MS });
      const [older = ''] = await index(a).detach({ tag, token: await index(a).advance() });
      stage.expect(await index(a).take({ tag, batch: older, done: [] })).toEqual([key]);
      await index(a).attach({ key, tags: [tag], livesMs: LONG_MS });
      const batches = await index(b).detach({ tag, token: await index(b).advance() });
      stage.expect(await index(a).take({ tag, batch: older, done: [key] })).toEqual([]);
      stage.expect(await taken(b, tag, batches)).toEqual([key]);
    },
  },
  'an invalidation that is executed twice loses no key': {
    async body(stage) {
      const { a } = await stage.actors('a');
      const [tag, first, second] = [newKey(), newKey(), newKey()];
      await index(a).attach({ key: first, tags: [tag], livesMs: LONG_MS });
      const token = await index(a).advance();
      await index(a).detach({ tag, token });
      await index(a).attach({ key: second, tags: [tag], livesMs: LONG_MS });
      const batches = await index(a).detach({ tag, token });
      stage.expect((await taken(a, tag, batches)).toSorted()).toEqual([first, second].toSorted());
    },
  },
  'every replica is told that a tag was invalidated, the one that says so too': {
    async body(stage) {
      const { a, b } = await stage.actors('a', 'b');
      const tag = newKey();
      const token = await index(a).advance();
      await index(a).announce({ tag, token });
      await stage.until(() => [a, b].every((actor) => news(actor).length > 0), 'the news of the tag to reach every replica');
      stage.expect([news(a), news(b)]).toEqual([[{ kind: 'tag-invalidated', tag, token }], [{ kind: 'tag-invalidated', tag, token }]]);
    },
  },
} satisfies Record<string, Clause>;

const LONG_MS = 60_000;

function index(actor: Actor): TagIndex {
  if (actor.link.tags === undefined) throw new Error('the subject keeps no tags: skip this clause with a reason');
  return actor.link.tags;
}

/** Invalidates a tag as core does, but for the keys themselves, and returns them. */
async function invalidated(stage: Stage, actor: Actor, tag: string): Promise<KeyHash[]> {
  await stage.advance(1);
  return taken(actor, tag, await index(actor).detach({ tag, token: await index(actor).advance() }));
}

async function taken(actor: Actor, tag: string, batches: readonly string[]): Promise<KeyHash[]> {
  const found: KeyHash[] = [];
  for (const batch of batches) {
    let keys = await index(actor).take({ tag, batch, done: [] });
    while (keys.length > 0) {
      found.push(...keys);
      keys = await index(actor).take({ tag, batch, done: keys });
    }
  }
  return found;
}

function news(actor: Actor): unknown[] {
  return actor.messages.filter(({ kind }) => kind === 'tag-invalidated');
}
