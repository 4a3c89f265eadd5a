import { checkOptions, isCoordinator, milliseconds, objectWith, oneOf, wholeNumber, type OptionCheck } from './check-options.js';
import type { Clock } from './clock.js';
import type { Codec } from './codec.js';
import type { Coordinator, FlightId, StoredLifetimes } from './coordinator.js';
import { misuse } from './errors.js';
import type { Key } from './key.js';
import { hasTags, tagsCheck, type Tags } from './tags.js';

/** Loads the value of a key. Runs at most once at a time per key across all replicas, faults aside. */
export type Loader<T> = (context: LoadContext) => T | PromiseLike<T>;

/** What a loader is told about its run. */
export interface LoadContext {
  readonly key: Key;
  /** Aborts when `loadTimeoutMs` is over, the collapser closes, or nobody on any replica waits any more; never before. */
  readonly signal: AbortSignal;
  readonly flightId: FlightId;
  /**
   * Grows with each claim of the key. Hand it to a resource that must not see two leaders (it refuses a lower one than
   * it has seen). `undefined` without a coordinator or when it was out of reach.
   */
  readonly fencingToken: number | undefined;
  /**
   * Says, while the load runs, that its answer belongs to the caller that started it alone. Every other waiter, here and
   * on other replicas, is let go at once and loads for itself. Calling it again, or after the load, does nothing.
   *
   * @throws TypeError ERR_ONEFLIGHT_OPTION where its call does not have `mayBePrivate`; the load then fails with it.
   */
  unshareable(): void;
  /**
   * Names the span in which the load runs, as a W3C `traceparent`, so that tracing on other replicas can link to it.
   * `traceCollapser` does it. What is no valid traceparent is ignored: tracing never fails a load.
   */
  inSpan(traceparent: string): void;
  /**
   * What is stored for the key and did not do, where the caller that leads asked for it (`revalidateMs` or what extends
   * `ttlMs`): a load that finds it to hold still returns it again.
   */
  readonly previous: StoredValue<unknown> | undefined;
  /** Whether its outcome is for its own caller only: it was let go by another load, or is over a limit. */
  readonly isAlone: boolean;
  /**
   * Offers something, before the load has ended, to those who wait for it in this process and to those who join them while
   * it runs; who has the option `early` may take it as its answer. A later offer replaces it. Whoever took it does not wait
   * any more: `signal` does not count it, and an error of the load does not reach it.
   */
  offer(early: unknown): void;
  /** Whether the caller was answered already, with a stored value that this load refreshes. */
  readonly isRefresh: boolean;
  /**
   * Says, while the load runs, how long its value may be stored, in place of the caller's options. Each reader gets the
   * lower of this and of its own options. The last call counts; `{ ttlMs: 0 }` stores nothing new.
   *
   * @throws TypeError ERR_ONEFLIGHT_OPTION
   */
  keep(lifetimes: Lifetimes): void;
}

/** How long a value may be used by its own word, in milliseconds. */
export interface Lifetimes {
  readonly ttlMs: number;
  /** @default 0 */
  readonly staleWhileRevalidateMs?: number;
  /** @default 0 */
  readonly staleIfErrorMs?: number;
  /** @default 0 */
  readonly revalidateMs?: number;
  /** How old the value is already. @default 0 */
  readonly ageMs?: number;
}

/** A stored value and how old it is, in milliseconds. */
export interface StoredValue<T> {
  readonly value: T;
  readonly ageMs: number;
  /** What its load said; absent where it said nothing. */
  readonly lifetimes: StoredLifetimes | undefined;
}

/** What `peek` takes. */
export interface PeekOptions<T = unknown> {
  /** How the value travelled. @default the coordinator's */
  readonly codec?: Codec<T>;
}

/** Options of one call. */
export interface RunOptions<T = unknown> {
  /** This caller's patience in milliseconds, in total over all takeovers. @default 30_000 */
  readonly timeoutMs?: number;
  /** This caller leaves when it aborts; the call rejects with its reason. The load goes on for the others. */
  readonly signal?: AbortSignal;
  /** The load's own limit in milliseconds; then its signal aborts and all its waiters get LoadTimeoutError. @default 30_000 */
  readonly loadTimeoutMs?: number;
  /**
   * Which loads may answer. `join`: one that was running at some moment of the call; after an invalidation a call on
   * another replica may for a moment still get a load from before it. `confirmed`: no load from before an invalidation that
   * resolved before the call, on any replica. `strict`: one that started after the call began, and nothing stored. @default 'join'
   */
  readonly freshness?: 'join' | 'confirmed' | 'strict';
  /**
   * Whether an error answers every waiter. `false`: only the caller whose loader failed gets it and one waiter at a time
   * takes over, three loads in a row at most, then the error is shared. The option of the caller that leads counts. @default true
   */
  readonly shareErrors?: boolean | ((error: unknown) => boolean);
  /**
   * How a shared value is handed to this caller. `none`: by reference, a mutation is seen by the others. `clone`: a
   * structured clone. `freeze`: the shared value, deeply frozen (a clone where it holds what cannot be frozen). @default 'none'
   */
  readonly isolate?: 'none' | 'clone' | 'freeze';
  /**
   * Whether the loader may call `context.unshareable()`. Callers whose loaders never do share one promise when they join a
   * load at the same moment with equal options; one that may be let go needs a promise of its own. @default false
   */
  readonly mayBePrivate?: boolean;
  /** When the coordinator is out of reach: load, collapsed inside this process, or reject with CoordinatorError. @default 'load' */
  readonly whenDegraded?: 'load' | 'reject';
  /**
   * An outcome, also an error, answers calls that come up to this long after it settled, in milliseconds. @default 0
   */
  readonly lingerMs?: number;
  /** A value answers calls that come up to this long after it settled, in milliseconds: a cache, for the whole cluster. @default 0 */
  readonly ttlMs?: number;
  /** After `ttlMs` a value answers for this long still, at once, while one replica loads a new one. Needs `ttlMs`. @default 0 */
  readonly staleWhileRevalidateMs?: number;
  /** After `ttlMs` a value answers for this long still when the load of a new one fails. Needs `ttlMs`. @default 0 */
  readonly staleIfErrorMs?: number;
  /** After `ttlMs` a value is there for this long still for the load of a new one to see (`context.previous`). @default 0 */
  readonly revalidateMs?: number;
  /** An error answers calls that come up to this long after it settled, in milliseconds. @default 0 */
  readonly negativeTtlMs?: number;
  /** Of many readers of a value that is about to end, one refreshes it in time (XFetch). Needs `ttlMs`. @default false */
  readonly earlyRefresh?: boolean;
  /**
   * What `invalidateTag` finds a stored value by: at most 32, or a function of the value that says them; a function that
   * throws fails the load. Give the same in all calls of a key. Needs `ttlMs`, `lingerMs`, `negativeTtlMs` or `revalidateMs`, but for `watch`. @default none
   */
  readonly tags?: Tags<T>;
  /** How the value travels to other replicas. The same for all calls of a key. @default the coordinator's */
  readonly codec?: Codec<T>;
  /**
   * Called with what the load offers before it has ended (`LoadContext.offer`), if another caller's in this process runs it.
   * Returns the answer to end the wait with, `undefined` to wait on. What it throws is this caller's error. @default none
   */
  readonly early?: (offered: unknown) => { readonly value: T } | undefined;
}

/** Options of a collapser. */
export interface CollapserOptions {
  /** Separates flights of different collapsers and names this one in metrics. @default 'default' */
  readonly name?: string;
  /** Decides who leads among all replicas. Absent: collapse inside this process only. */
  readonly coordinator?: Coordinator;
  /** `observe`: every caller loads; only count what would have been collapsed. @default 'collapse' */
  readonly mode?: 'collapse' | 'observe';
  /** Defaults for each call. */
  readonly defaults?: Omit<RunOptions, 'signal' | 'early'>;
  /** Over a limit a call is not collapsed; it is counted and never fails because of it. */
  readonly limits?: Limits;
  /** Time; for tests. @default the coordinator's, else the process's */
  readonly clock?: Clock;
  /** Randomness for jitter, in [0, 1); for tests. @default Math.random */
  readonly random?: () => number;
}

export interface Limits {
  /** Flights in progress in this process. @default 10_000 */
  readonly flightsMax?: number;
  /** Callers waiting for one flight in this process. @default 50_000 */
  readonly waitersPerFlightMax?: number;
  /** Size of a key in bytes. @default 8_192 */
  readonly keyBytesMax?: number;
  /** Iterations of `watch` under way in this process; one more yields its first value and ends. @default 10_000 */
  readonly watchersMax?: number;
  /** Outcomes stored in this process without a coordinator; the least recently used go first. @default 1_000 */
  readonly valuesMax?: number;
}

/** The options of a call with all defaults filled in. */
export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly loadTimeoutMs: number;
  readonly freshness: 'join' | 'confirmed' | 'strict';
  readonly shareErrors: boolean | ((error: unknown) => boolean);
  readonly isolate: 'none' | 'clone' | 'freeze';
  readonly mayBePrivate: boolean;
  readonly whenDegraded: 'load' | 'reject';
  readonly lingerMs: number;
  readonly ttlMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly revalidateMs: number;
  readonly negativeTtlMs: number;
  readonly earlyRefresh: boolean;
  readonly tags: Tags | undefined;
  readonly codec: Codec | undefined;
  readonly early: ((offered: unknown) => { readonly value: unknown } | undefined) | undefined;
}

export const RUN_DEFAULTS: CallOptions = Object.freeze({
  timeoutMs: 30_000,
  signal: undefined,
  loadTimeoutMs: 30_000,
  freshness: 'join',
  shareErrors: true,
  isolate: 'none',
  mayBePrivate: false,
  whenDegraded: 'load',
  lingerMs: 0,
  ttlMs: 0,
  staleWhileRevalidateMs: 0,
  staleIfErrorMs: 0,
  revalidateMs: 0,
  negativeTtlMs: 0,
  earlyRefresh: false,
  tags: undefined,
  codec: undefined,
  early: undefined,
});

export const LIMIT_DEFAULTS: Required<Limits> = Object.freeze({
  flightsMax: 10_000,
  waitersPerFlightMax: 50_000,
  keyBytesMax: 8_192,
  watchersMax: 10_000,
  valuesMax: 1_000,
});

/** How long `close` waits for flights to end. */
export const DRAIN_MS_DEFAULT = 5_000;

const LIMIT_CHECKS: Readonly<Record<string, OptionCheck>> = {
  flightsMax: wholeNumber(1),
  waitersPerFlightMax: wholeNumber(1),
  keyBytesMax: wholeNumber(1),
  watchersMax: wholeNumber(1),
  valuesMax: wholeNumber(1),
};

const CODEC_CHECK = objectWith('a codec with encode and decode', 'encode', 'decode');

const DEFAULT_CHECKS: Readonly<Record<string, OptionCheck>> = {
  timeoutMs: milliseconds(1, { infinity: true }),
  loadTimeoutMs: milliseconds(1, { infinity: true }),
  freshness: oneOf('join', 'confirmed', 'strict'),
  shareErrors: (value) => (typeof value === 'boolean' || typeof value === 'function' ? undefined : 'a boolean or a function of the error'),
  isolate: oneOf('none', 'clone', 'freeze'),
  mayBePrivate: oneOf(true, false),
  whenDegraded: oneOf('load', 'reject'),
  lingerMs: milliseconds(0),
  ttlMs: milliseconds(0),
  staleWhileRevalidateMs: milliseconds(0),
  staleIfErrorMs: milliseconds(0),
  revalidateMs: milliseconds(0),
  negativeTtlMs: milliseconds(0),
  earlyRefresh: oneOf(true, false),
  tags: tagsCheck,
  codec: CODEC_CHECK,
};

/** The checks of what `peek` takes. */
export const PEEK_CHECKS: Readonly<Record<string, OptionCheck>> = { codec: CODEC_CHECK };

/** The checks of what `keep` is given. */
export const LIFETIME_CHECKS: Readonly<Record<string, OptionCheck>> = {
  ttlMs: milliseconds(0),
  staleWhileRevalidateMs: milliseconds(0),
  staleIfErrorMs: milliseconds(0),
  revalidateMs: milliseconds(0),
  ageMs: milliseconds(0),
};

/** The checks of a call's options by name. */
export const RUN_CHECKS: Readonly<Record<string, OptionCheck>> = {
  ...DEFAULT_CHECKS,
  signal: (value) => (value instanceof AbortSignal ? undefined : 'an AbortSignal'),
  early: (value) => (typeof value === 'function' ? undefined : 'a function from what is offered to an answer or undefined'),
};

const COLLAPSER_CHECKS: Readonly<Record<string, OptionCheck>> = {
  name: (value) =>
    typeof value === 'string' && /^[\w.:-]{1,64}$/.test(value) ? undefined : 'a name of 1 to 64 letters, digits, or . : _ -',
  coordinator: isCoordinator,
  mode: oneOf('collapse', 'observe'),
  defaults: () => undefined,
  limits: () => undefined,
  clock: objectWith('a clock with now and setTimer', 'now', 'setTimer'),
  random: (value) => (typeof value === 'function' ? undefined : 'a function'),
};

/** @throws TypeError ERR_ONEFLIGHT_OPTION for an unknown name, a wrong value, or a contradiction. */
export function checkCollapserOptions(options: CollapserOptions): void {
  checkOptions('options', options, COLLAPSER_CHECKS);
  if (options.limits !== undefined) checkOptions('options.limits', options.limits, LIMIT_CHECKS);
  if (options.defaults !== undefined) checkOptions('options.defaults', options.defaults, DEFAULT_CHECKS);
  if (options.mode === 'observe' && options.defaults?.whenDegraded === 'reject') {
    throw misuse('ERR_ONEFLIGHT_OPTION', "mode 'observe' without whenDegraded 'reject', because observing never rejects a call", 'both');
  }
}

/** Fills in the defaults of a call. @throws TypeError ERR_ONEFLIGHT_OPTION */
export function callOptions(options: object | undefined, defaults: CallOptions, isWatched = false): CallOptions {
  if (options === undefined) return defaults;
  checkOptions('options', options, RUN_CHECKS);
  const call = { ...defaults, ...(Object.values(options).includes(undefined) ? withoutUndefined(options) : options) };
  checkCaching(call);
  if (!isWatched) checkTagged(call);
  return call;
}

/** What extends a `ttlMs` means nothing without one. */
function checkCaching(call: CallOptions): void {
  if (call.ttlMs > 0) return;
  for (const name of ['staleWhileRevalidateMs', 'staleIfErrorMs', 'earlyRefresh'] as const) {
    if (call[name] !== 0 && call[name] !== false)
      throw misuse('ERR_ONEFLIGHT_OPTION', `options.${name} only together with ttlMs, which it extends`, `${name} without ttlMs`);
  }
}

/** Tags mean nothing where nothing is stored, but to a watcher: it reloads when one of them is invalidated. */
function checkTagged({ tags, ttlMs, lingerMs, negativeTtlMs, revalidateMs }: CallOptions): void {
  if (!hasTags(tags) || ttlMs > 0 || lingerMs > 0 || negativeTtlMs > 0 || revalidateMs > 0) return;
  throw misuse(
    'ERR_ONEFLIGHT_OPTION',
    'options.tags only together with ttlMs, lingerMs, negativeTtlMs or revalidateMs: without them nothing is stored that could carry a tag',
    'tags alone',
  );
}

function withoutUndefined(options: object): Partial<CallOptions> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
