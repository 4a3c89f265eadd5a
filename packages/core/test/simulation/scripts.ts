import type { Action, CallPlan, LegFaults } from './plan.js';
import type { Random } from './random.js';

/** A course of events that chance alone would seldom find: what matters is left to chance within it. */
export interface Script {
  readonly legs: LegFaults;
  readonly actions: readonly Action[];
}

/** What the scripts are made with. */
export interface Scene {
  readonly random: Random;
  readonly leaseMs: number;
  readonly key: string;
  /** Four or fewer; slots beyond it are taken modulo. */
  readonly replicas: number;
}

/** Picks one of the scripts. Each is a counterexample to a protocol without one of its rules, with the timing left open. */
export function pickScript(scene: Scene): Script {
  return scene.random.pick([lateClaim, lateClaim, relapse, oldLease, wipedWaiters, missedInvalidation])(scene);
}

/** A claim that was sent again is executed once more after an invalidation, while its load runs (D12). */
function lateClaim(scene: Scene): Script {
  const { random, leaseMs, key } = scene;
  return {
    legs: { how: 'nth', fault: 'delay', nth: 0, kind: 'request', op: 'claim' },
    actions: [
      call(scene, 0, 0, random.whole(leaseMs / 2, leaseMs * 2)),
      { at: random.whole(150, leaseMs), kind: 'invalidate', slot: 1, key },
      ...later(scene, [1, 2], leaseMs * 2, leaseMs * 3),
    ],
  };
}

/** The server goes back to a moment before the flight; waiters that it has forgotten claim again one by one. */
function relapse(scene: Scene): Script {
  const { random } = scene;
  const copied = random.whole(250, 300);
  return {
    legs: NO_LEGS,
    actions: [
      call(scene, random.whole(0, 3), 0, 1),
      { at: copied, kind: 'rollback', lagMs: random.whole(500, 1_200) },
      call(scene, 0, 310, scene.leaseMs * 2),
      ...later(scene, [1, 2, 3], 400, 700, 5),
      ...(random.chance(0.3) ? later(scene, [1, 2, 3], 800, 2_000) : []),
    ],
  };
}

/** The server goes back to a moment at which its lease had been taken and nobody followed yet; the lease has ended since. */
function oldLease(scene: Scene): Script {
  const { random, leaseMs } = scene;
  const copied = random.whole(55, 110);
  const lagMs = random.whole(leaseMs, leaseMs * 1.6);
  return {
    legs: NO_LEGS,
    actions: [
      call(scene, 0, 0, leaseMs * 3),
      { at: copied, kind: 'rollback', lagMs },
      ...later(scene, [1, 2], 150, 400, 5),
      ...later(scene, [3], copied + lagMs, copied + lagMs + 80, 1),
    ],
  };
}

/** The server forgets everything; a caller that knows of nothing leads at once, while the waiters still wait. */
function wipedWaiters(scene: Scene): Script {
  const wiped = scene.random.whole(350, 600);
  return {
    legs: NO_LEGS,
    actions: [
      call(scene, 0, 0, scene.leaseMs * 3),
      ...later(scene, [1, 2], 110, 300, 5),
      { at: wiped, kind: 'wipe' },
      ...later(scene, [3], wiped, wiped + 60, 1),
    ],
  };
}

/** One follower misses an invalidation, and the server that could tell it forgets everything. */
function missedInvalidation(scene: Scene): Script {
  const { random, leaseMs, key } = scene;
  const at = random.whole(400, 900);
  const wiped = at + random.whole(110, 300);
  return {
    legs: { how: 'nth', fault: 'lose', nth: 1, kind: 'message', op: 'invalidated' },
    actions: [
      call(scene, 0, 0, leaseMs * 3),
      call(scene, 1, random.whole(60, 300), leaseMs),
      { at, kind: 'invalidate', slot: 2, key },
      { at: wiped, kind: 'wipe' },
      call(scene, 2, wiped + 1, leaseMs * 2.5),
      ...later(scene, [1, 1, 1, 1, 1], wiped + 200, leaseMs * 3),
    ],
  };
}

/** A replica misses an invalidation; callers who ask for a confirmed outcome join its flight, which began before. */
export function unconfirmed(scene: Scene): Script {
  const { random, leaseMs, key } = scene;
  const at = random.whole(200, 400);
  const late = Array.from({ length: 4 }, () => ({
    ...call(scene, random.whole(0, 1), at + random.whole(100, 350), 20),
    freshness: 'confirmed' as const,
  }));
  return {
    legs: { how: 'nth', fault: 'lose', nth: random.whole(0, 1), kind: 'message', op: 'invalidated' },
    actions: [
      call(scene, 0, 0, random.whole(leaseMs / 2, leaseMs)),
      call(scene, 1, random.whole(60, 150), leaseMs),
      { at, kind: 'invalidate', slot: 2, key },
      ...late,
    ],
  };
}

const NO_LEGS: LegFaults = { how: 'chance', chances: {} };

/** A call of each slot, at some moment. */
function later(scene: Scene, slots: readonly number[], from: number, until: number, durationMs = 20): Action[] {
  return slots.map((slot) => call(scene, slot, scene.random.whole(from, until), durationMs));
}

function call({ key, replicas }: Scene, slot: number, at: number, durationMs: number): Action {
  const plan: CallPlan = {
    slot: slot % replicas,
    key,
    timeoutMs: 30_000,
    loadTimeoutMs: 30_000,
    leavesMs: undefined,
    sharesErrors: true,
    isolate: 'none',
    whenDegraded: 'load',
    freshness: 'join',
    load: { durationMs, ending: 'value', onAbort: 'ignores' },
  };
  return { at, kind: 'call', ...plan };
}
