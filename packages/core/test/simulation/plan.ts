import type { CoordinatorTimings } from '../../src/index.js';
import type { Leg } from '../../src/testing/index.js';
import { KEYS } from './keys.js';
import { Random } from './random.js';
import { pickScript, unconfirmed } from './scripts.js';

/** All that a seed decides before the run: who calls what when, what each loader does, and which faults come when. */
export interface Plan {
  readonly seed: number;
  /** `calm`: no fault. `single`: one fault, seldom two, in the life of a busy key. `storm`: many faults of a few kinds. */
  readonly profile: 'calm' | 'single' | 'storm';
  readonly replicas: number;
  readonly timings: CoordinatorTimings;
  readonly inlineBytesMax: number;
  /** A leg that no fault touches takes up to this long: a round trip always fits into half a command time-out. */
  readonly legMsMax: number;
  readonly untilMs: number;
  readonly legFaults: LegFaults;
  readonly actions: readonly Action[];
  /** Whether some calls ask for more than a load that runs. */
  readonly mixesFreshness: boolean;
  /** For what is decided during the run. */
  readonly random: Random;
}

export type LegFault = 'lose' | 'duplicate' | 'delay';
export type LegFaults =
  | { readonly how: 'chance'; readonly chances: Readonly<Partial<Record<LegFault, number>>> }
  | { readonly how: 'nth'; readonly fault: LegFault; readonly nth: number; readonly kind: Leg['kind']; readonly op: string };

export type Action = { readonly at: number } & (
  | ({ readonly kind: 'call' } & CallPlan)
  | { readonly kind: 'invalidate'; readonly slot: number; readonly key: string }
  | { readonly kind: 'close'; readonly slot: number; readonly drainMs: number }
  | Fault
);

export type Fault =
  | { readonly kind: 'crash'; readonly slot: number; readonly restartMs: number }
  | { readonly kind: 'pause'; readonly slot: number; readonly forMs: number; readonly keepsOrder: boolean }
  | { readonly kind: 'deaf'; readonly slot: number; readonly forMs: number }
  | { readonly kind: 'cut'; readonly slot: number; readonly leg: Leg['kind']; readonly forMs: number }
  | { readonly kind: 'outage'; readonly forMs: number }
  | { readonly kind: 'rollback'; readonly lagMs: number }
  | { readonly kind: 'wipe' };

export interface CallPlan {
  readonly slot: number;
  readonly key: string;
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  /** The caller leaves after this long. */
  readonly leavesMs: number | undefined;
  readonly sharesErrors: boolean;
  readonly isolate: 'none' | 'clone' | 'freeze';
  readonly whenDegraded: 'load' | 'reject';
  readonly freshness: Freshness;
  readonly load: LoadPlan;
}

export type Freshness = 'join' | 'confirmed' | 'strict';

export interface LoadPlan {
  readonly durationMs: number;
  readonly ending: 'value' | 'large' | 'error' | 'throws' | 'untravelable' | 'private' | 'hangs';
  /** What the loader does with its signal: `blind` never asks for it. */
  readonly onAbort: 'rejects' | 'ignores' | 'blind';
}

const FAULTS = ['crash', 'pause', 'deaf', 'cut', 'outage', 'rollback', 'wipe'] as const;
type Mix = readonly [Freshness, ...Freshness[]];
const FRESHNESS_MIXES: readonly [Mix, ...Mix[]] = [
  ['join'],
  ['join'],
  ['join', 'strict'],
  ['join', 'confirmed', 'confirmed'],
  ['join', 'confirmed', 'strict', 'strict'],
];
const LEG_FAULTS = ['lose', 'duplicate', 'delay'] as const;
const TIMINGS: readonly [CoordinatorTimings, ...CoordinatorTimings[]] = [
  { leaseMs: 3_000, recheckMs: 500, commandTimeoutMs: 250, retainMs: 10_000 },
  { leaseMs: 1_500, recheckMs: 250, commandTimeoutMs: 250, retainMs: 8_000 },
];

export function makePlan(seed: number): Plan {
  const random = new Random(seed);
  const profile = random.pick(['calm', 'single', 'single', 'single', 'storm', 'storm'] as const);
  const timings = random.pick(TIMINGS);
  const replicas = profile === 'single' ? random.whole(3, 4) : random.whole(2, 4);
  const base = { seed, profile, timings, replicas, inlineBytesMax: 512, legMsMax: random.pick([0, 1, 5, 20, 50]) };
  const { mixesFreshness, mix, missesInvalidation } = freshnessOf(seed);
  const stage: Stage = {
    random,
    timings,
    replicas,
    features: features(random, profile),
    freshness: mix,
    missesInvalidation,
    keys: KEYS.slice(0, profile === 'single' ? 1 : random.whole(1, 3)),
  };
  const untilMs = profile === 'single' ? 8_000 : 10_000;
  const { legs, events } = course(stage, profile, untilMs);
  const actions = [...events].sort((left, right) => left.at - right.at);
  return { ...base, untilMs, legFaults: legs, actions, mixesFreshness, random: random.fork() };
}

/** From a stream of its own, so that whatever else a seed decides is the same with and without it. */
function freshnessOf(seed: number): Pick<Plan, 'mixesFreshness'> & { readonly mix: () => Freshness; readonly missesInvalidation: boolean } {
  const random = new Random(seed + FRESHNESS_STREAM);
  const among = random.pick(FRESHNESS_MIXES);
  const missesInvalidation = among.includes('confirmed') && random.chance(0.1);
  return { mixesFreshness: among.length > 1, mix: () => random.pick(among), missesInvalidation };
}

/** With it the seeds that are kept as regressions ask for nothing, as before there was anything to ask for. */
const FRESHNESS_STREAM = 1_000_304;

function course(stage: Stage, profile: Plan['profile'], untilMs: number): Faults {
  const { random, replicas, timings } = stage;
  const scene = { random, replicas, leaseMs: timings.leaseMs, key: stage.keys[0] ?? KEYS[0] };
  if (profile === 'single' && stage.missesInvalidation) {
    const { legs, actions } = unconfirmed(scene);
    return { legs, events: actions };
  }
  if (profile === 'single' && random.chance(0.15)) {
    const { legs, actions } = pickScript(scene);
    return { legs, events: actions };
  }
  const faults = profile === 'single' ? singleFault(stage) : profile === 'storm' ? storm(stage, untilMs) : NO_FAULTS;
  return { legs: faults.legs, events: [...calls(stage, profile, untilMs), ...faults.events] };
}

interface Stage {
  readonly random: Random;
  readonly timings: CoordinatorTimings;
  readonly replicas: number;
  readonly features: ReadonlySet<Feature>;
  readonly freshness: () => Freshness;
  readonly missesInvalidation: boolean;
  readonly keys: readonly string[];
}

type Feature =
  | 'invalidates'
  | 'leaves'
  | 'impatient'
  | 'fails'
  | 'unshared'
  | 'private'
  | 'untravelable'
  | 'large'
  | 'hangs'
  | 'rejects'
  | 'closes';
const FEATURES: readonly Feature[] = [
  'invalidates',
  'leaves',
  'impatient',
  'fails',
  'unshared',
  'private',
  'untravelable',
  'large',
  'hangs',
  'rejects',
  'closes',
];

const LIKELY_IN_SINGLE: Readonly<Partial<Record<Feature, number>>> = { invalidates: 0.4, large: 0.3, rejects: 0.15 };

/** Each run uses some of what callers and loaders may do, so that each combination is seen without the noise of all. */
function features(random: Random, profile: Plan['profile']): ReadonlySet<Feature> {
  if (profile === 'single') return new Set(FEATURES.filter((feature) => random.chance(LIKELY_IN_SINGLE[feature] ?? 0.06)));
  return new Set(FEATURES.filter(() => random.chance(0.35)));
}

// ---- Callers --------------------------------------------------------------------------------------------------------

/** Calls come in bursts, as they do when a hot key is opened. */
function calls(stage: Stage, profile: Plan['profile'], untilMs: number): Action[] {
  const { random, replicas } = stage;
  const actions: Action[] = [];
  const bursts = profile === 'single' ? random.whole(2, 4) : random.whole(3, 7);
  for (let burst = 0; burst < bursts; burst++) {
    const key = stage.keys[random.whole(0, stage.keys.length - 1)] ?? KEYS[0];
    const start = burst === 0 ? 0 : random.whole(0, untilMs * 0.7);
    const spread = random.pick([0, 10, 300, 1_500]);
    const isSlow = profile === 'single' || random.chance(0.5);
    for (let left = random.whole(2, profile === 'single' ? 6 : 5); left > 0; left--) {
      actions.push({ at: start + random.whole(0, spread), kind: 'call', ...callPlan(stage, key, isSlow) });
    }
    if (stage.features.has('invalidates') && random.chance(0.8)) {
      actions.push({ at: start + random.whole(0, spread + 800), kind: 'invalidate', slot: random.whole(0, replicas - 1), key });
    }
  }
  if (stage.features.has('closes')) {
    actions.push({
      at: random.whole(0, untilMs),
      kind: 'close',
      slot: random.whole(0, replicas - 1),
      drainMs: random.pick([0, 100, 2_000]),
    });
  }
  return actions;
}

function callPlan(stage: Stage, key: string, isSlow: boolean): CallPlan {
  const { random, features } = stage;
  const isImpatient = features.has('impatient') && random.chance(0.5);
  return {
    slot: random.whole(0, stage.replicas - 1),
    key,
    timeoutMs: isImpatient ? random.pick([1, 50, 400, 2_000]) : random.pick([20_000, 30_000, Infinity]),
    loadTimeoutMs: features.has('hangs') ? random.pick([300, 2_000, 5_000]) : 30_000,
    leavesMs: features.has('leaves') && random.chance(0.4) ? random.whole(0, 1_500) : undefined,
    sharesErrors: !(features.has('unshared') && random.chance(0.6)),
    isolate: features.has('untravelable') ? 'none' : random.pick(['none', 'none', 'clone', 'freeze']),
    whenDegraded: features.has('rejects') && random.chance(0.7) ? 'reject' : 'load',
    freshness: stage.freshness(),
    load: loadPlan(stage, isSlow),
  };
}

function loadPlan({ random, features, timings }: Stage, isSlow: boolean): LoadPlan {
  const quick = (): number => random.pick([0, 1, random.whole(2, 60), random.whole(50, 600)]);
  return {
    durationMs: isSlow && random.chance(0.75) ? random.whole(200, timings.leaseMs * 2) : quick(),
    ending: ending(random, features),
    onAbort: random.pick(['rejects', 'ignores', 'ignores', 'blind']),
  };
}

function ending(random: Random, features: ReadonlySet<Feature>): LoadPlan['ending'] {
  if (features.has('large') && random.chance(0.5)) return 'large';
  if (features.has('fails') && random.chance(0.5)) return random.pick(['error', 'error', 'throws']);
  if (features.has('unshared') && random.chance(0.5)) return 'error';
  if (features.has('private') && random.chance(0.4)) return 'private';
  if (features.has('untravelable') && random.chance(0.4)) return 'untravelable';
  if (features.has('hangs') && random.chance(0.3)) return 'hangs';
  return 'value';
}

// ---- Faults ---------------------------------------------------------------------------------------------------------

interface Faults {
  readonly legs: LegFaults;
  readonly events: readonly Action[];
}

const NO_FAULTS: Faults = { legs: { how: 'chance', chances: {} }, events: [] };

/** Which legs a single fault hits, more often those whose loss the protocol has a rule for. */
const LEGS = [
  ...['request claim', 'request claim', 'request claim', 'request settle', 'request release', 'request renew', 'request invalidate'],
  ...['reply claim', 'reply claim', 'reply settle', 'reply release', 'reply renew', 'reply invalidate', 'reply absent'],
  ...['message settled', 'message settled', 'message woken', 'message invalidated', 'message invalidated'],
];

function storm(stage: Stage, untilMs: number): Faults {
  const { random } = stage;
  const chances: Partial<Record<LegFault, number>> = {};
  for (const fault of LEG_FAULTS) if (random.chance(0.5)) chances[fault] = random.pick([0.01, 0.05, 0.2]);
  const events: Action[] = [];
  for (const kind of FAULTS) {
    if (!random.chance(0.35)) continue;
    for (let left = random.whole(1, 3); left > 0; left--) events.push({ at: random.whole(0, untilMs * 0.9), ...makeFault(stage, kind) });
  }
  return { legs: { how: 'chance', chances }, events };
}

function singleFault(stage: Stage): Faults {
  const { random } = stage;
  const choice = random.next();
  if (choice < 0.35) return { legs: oneLeg(random, LEGS[random.whole(0, LEGS.length - 1)] ?? ''), events: [] };
  if (choice < 0.85) return { legs: NO_FAULTS.legs, events: oneEvent(stage, random.pick(FAULTS)) };
  // An invalidation that one replica did not hear of, and a server that forgets.
  return {
    legs: { ...oneLeg(random, 'message invalidated'), fault: 'lose' },
    events: oneEvent(stage, random.pick(['wipe', 'wipe', 'rollback'])),
  };
}

function oneLeg(random: Random, leg: string): LegFaults & { readonly how: 'nth' } {
  const kind = leg.startsWith('request') ? 'request' : leg.startsWith('reply') ? 'reply' : 'message';
  return { how: 'nth', fault: random.pick(LEG_FAULTS), nth: random.whole(0, 3), kind, op: leg.slice(leg.indexOf(' ') + 1) };
}

/** The fault, and often an invalidation while it lasts and some calls in its wake: that is when it can do harm. */
function oneEvent(stage: Stage, kind: Fault['kind']): Action[] {
  const { random, keys, replicas, timings } = stage;
  const key = keys[0] ?? KEYS[0];
  const at = random.pick([random.whole(0, 100), random.whole(0, 800), random.whole(0, 5_000)]);
  const fault = makeFault(stage, kind);
  const over = at + ('lagMs' in fault ? fault.lagMs : 0);
  const actions: Action[] = [{ at, ...fault }];
  if (random.chance(0.4))
    actions.push({ at: random.whole(Math.max(0, at - 300), over), kind: 'invalidate', slot: random.whole(0, replicas - 1), key });
  const wakeMs = random.pick([50, 300, timings.leaseMs]);
  const calls = random.chance(0.7) ? random.whole(1, 4) : 0;
  for (let call = 0; call < calls; call++)
    actions.push({ at: over + random.whole(0, wakeMs), kind: 'call', ...callPlan(stage, key, random.chance(0.4)) });
  return actions;
}

function makeFault({ random, replicas, timings }: Stage, kind: Fault['kind']): Fault {
  const slot = random.whole(0, replicas - 1);
  switch (kind) {
    case 'crash':
      return { kind, slot, restartMs: random.whole(0, 3_000) };
    case 'pause':
      return { kind, slot, forMs: random.whole(10, 3 * timings.leaseMs), keepsOrder: random.chance(0.5) };
    case 'deaf':
      return { kind, slot, forMs: random.whole(10, 2_000) };
    case 'cut':
      return { kind, slot, leg: random.pick(['request', 'reply', 'message']), forMs: random.whole(50, 1_500) };
    case 'outage':
      return { kind, forMs: random.whole(10, 3_000) };
    case 'rollback':
      return { kind, lagMs: random.pick([random.whole(10, 1_000), random.whole(10, timings.leaseMs * 1.9)]) };
    case 'wipe':
      return { kind };
  }
}
