import type {
  Claim,
  ClaimRequest,
  FlightId,
  HolderRequest,
  KeyHash,
  Message,
  Outcome,
  PeekRequest,
  ReleaseRequest,
  Renewal,
  SettleRequest,
  Settlement,
  StoredOutcome,
} from '../coordinator.js';
import { limitedBy } from '../caching.js';
import { ExpiringMap } from './expiring-map.js';
import { MemoryTags } from './memory-tags.js';
import { MemoryValues, storedMs } from './memory-values.js';

/**
 * The protocol's server as an executable specification: what the scripts in Redis do, operation by operation, on the
 * same keys (lease L, state S, waiters W, outcome R), each with an expiry. One call is one script: nothing comes
 * between its steps. It sends nothing itself; it returns the reply and the messages to publish.
 *
 * One rule decides everything: an outcome with token `t` may answer a waiter if and only if `t >= min`.
 */
export class MemoryStore {
  readonly tags: MemoryTags;
  readonly #rules: StoreRules;
  readonly #leases: ExpiringMap<Flight>;
  readonly #states: ExpiringMap<State>;
  readonly #waiters: ExpiringMap<Map<FlightId, number>>;
  readonly #outcomes: ExpiringMap<KeptOutcome>;
  readonly #values: MemoryValues;
  #lastUs = SERVER_EPOCH_US;

  constructor(rules: StoreRules) {
    this.#rules = rules;
    this.tags = new MemoryTags({ nowMs: rules.nowMs, nowUs: () => this.#time(), floorMs: INVALIDATED_TTL_MS });
    this.#leases = new ExpiringMap(rules.nowMs);
    this.#states = new ExpiringMap(rules.nowMs);
    this.#waiters = new ExpiringMap(rules.nowMs);
    this.#outcomes = new ExpiringMap(rules.nowMs);
    this.#values = new MemoryValues(rules.nowMs);
  }

  claim(request: ClaimRequest): Executed<Claim> {
    const nowUs = this.#time();
    const isNew = this.#states.get(request.key) === undefined;
    const dropped = this.#heal(request);
    const reply =
      this.#answer(request) ??
      this.#cached(request) ??
      this.#leadAgain(request) ??
      this.#follow(request, nowUs) ??
      this.#lead(request, isNew || dropped, nowUs);
    return { reply: reply.role === 'leader' ? this.#withStale(reply, request) : reply, messages: [] };
  }

  renew({ key, id, token }: HolderRequest): Executed<Renewal> {
    const state = this.#states.get(key);
    if (state?.flight?.id !== id || state.flight.token !== token)
      return { reply: { state: 'detached', floor: state?.floor }, messages: [] };
    // Also takes back a lease that ended and that nobody took; an invalidation would have removed the flight.
    this.#leases.set(key, state.flight, this.#rules.leaseMs);
    this.#states.keep(key, state, this.#stateTtlMs);
    return { reply: { state: 'held', floor: state.floor, waiters: this.#waiters.get(key)?.size ?? 0 }, messages: [] };
  }

  settle({ key, id, token, outcome, cache }: SettleRequest): Executed<Settlement> {
    this.#forget(key, id);
    const served = this.#serve(key, token);
    const state = this.#states.get(key);
    const ownsKey = state?.flight?.id === id;
    if (served.length > 0) this.#retain(key, token, outcome, this.#rules.retainMs);
    else if (ownsKey && state.recovery) this.#retain(key, token, outcome, this.#recoveryMs);

    const isCurrent = ownsKey && state.flight?.token === token;
    const messages = this.#outcomeMessages(key, served, token, outcome);
    if (ownsKey) {
      this.#vacate(key, state);
      state.attempts = 0;
    }
    if (isCurrent && token > state.floor && cache !== undefined) {
      this.#values.keep(key, token, outcome, cache);
      // The floor outlives what it fences: a state that was made anew would begin above the stored token and hide the entry.
      this.#states.keep(key, state, storedMs(outcome, cache));
    }
    messages.push(...this.#wakeOne(key));
    return { reply: { state: isCurrent ? 'settled' : 'detached', floor: state?.floor }, messages };
  }

  release({ key, id, failed = false }: ReleaseRequest): Executed<void> {
    this.#forget(key, id);
    const state = this.#states.get(key);
    if (state?.flight?.id === id) {
      this.#vacate(key, state);
      if (failed) this.#states.keep(key, { ...state, attempts: state.attempts + 1 }, this.#stateTtlMs);
    }
    return { reply: undefined, messages: this.#wakeOne(key) };
  }

  /** The value that is stored, of whatever age; nothing is changed. */
  peek({ key, floor }: PeekRequest): Executed<StoredOutcome | undefined> {
    return { reply: this.#values.peek(key, this.#floor(key, floor)), messages: [] };
  }

  /** Waiters stay: the flight that is running still answers those who called before, and only those. */
  invalidate({ key }: { readonly key: KeyHash }): Executed<number> {
    const floor = Math.max(this.#time(), this.#issued(key) + 1);
    this.#leases.delete(key);
    this.#values.delete(key);
    this.#states.keep(key, { issued: floor, floor, flight: undefined, recovery: false, attempts: 0 }, INVALIDATED_TTL_MS);
    return { reply: floor, messages: [{ to: EVERYONE, message: { kind: 'invalidated', key, floor } }] };
  }

  floor({ key }: { readonly key: KeyHash }): Executed<number | undefined> {
    return { reply: this.#states.get(key)?.floor, messages: [] };
  }

  /** The keys that live now. Each has an expiry, by construction. */
  keys(): StoredKey[] {
    return Object.entries(this.#tables).flatMap(([table, map]) => map.keys().map((key) => ({ table, key, expiresInMs: map.leftMs(key) })));
  }

  /** Forgets everything, as a server does that restarts without its data. Its clock goes on. */
  wipe(): void {
    for (const table of Object.values(this.#tables)) table.clear();
  }

  /** Remembers everything; the function that it returns goes back to it, as a failover to a lagging replica does. */
  checkpoint(): () => void {
    const restores = Object.values(this.#tables).map((table) => table.checkpoint());
    return () => {
      for (const restore of restores) restore();
    };
  }

  get #tables(): Readonly<Record<string, ExpiringMap<unknown>>> {
    const keys = { L: this.#leases, S: this.#states, W: this.#waiters, R: this.#outcomes };
    return { ...keys, ...this.#values.tables, ...this.tags.tables };
  }

  /** The claimer has seen a floor that the server lost: a flight from before it is dropped. Returns whether one was. */
  #heal({ key, floor }: ClaimRequest): boolean {
    const lease = this.#leases.get(key);
    const state = this.#states.get(key);
    // A missing state is not created here: it would start at this floor instead of just below a new token (D16).
    if (floor <= (state?.floor ?? 0)) return false;
    if (lease !== undefined && lease.token <= floor) this.#leases.delete(key);
    if (state === undefined) return false;
    const flight = state.flight !== undefined && state.flight.token > floor ? state.flight : undefined;
    const healed = { ...state, floor, issued: Math.max(state.issued, floor), flight, recovery: flight !== undefined && state.recovery };
    this.#states.keep(key, healed, INVALIDATED_TTL_MS);
    return flight !== state.flight;
  }

  /** An outcome that it waited for is already there. Who presents no `min` waited for nothing: R is no cache. */
  #answer({ key, id, min, floor }: ClaimRequest): Claim | undefined {
    const stored = this.#outcomes.get(key);
    if (min === 0 || stored === undefined || stored.token < min) return undefined;
    this.#abandon(key, id);
    return { role: 'settled', outcome: stored.outcome, fencingToken: stored.token, floor: this.#floor(key, floor) };
  }

  /**
   * What is stored answers it: fresh, or stale while somebody else loads, or as an error that need not be tried again yet.
   * A stale value is better than an error, fresh as the error may be.
   */
  #cached(request: ClaimRequest): Claim | undefined {
    const { key, id, cache, min, floor } = request;
    if (cache === undefined) return undefined;
    const { value, error } = this.#values.find(key, min, this.#floor(key, floor));
    const failedLately = error !== undefined && error.ageMs < cache.freshErrorMs;
    const accepted = limitedBy(value?.lifetimes, cache);
    if (value !== undefined && value.ageMs < accepted.freshMs) {
      this.#abandon(key, id);
      return { role: 'cached', stored: value, floor: this.#floor(key, floor) };
    }
    const lease = this.#leases.get(key);
    const isLoading = lease !== undefined && lease.id !== id && !this.#mayTakeOver(lease, request);
    if (value !== undefined && value.ageMs < accepted.staleMs && (isLoading || failedLately)) {
      return { role: 'stale', stored: value, floor: this.#floor(key, floor) };
    }
    if (error === undefined || !failedLately || (value !== undefined && value.ageMs < accepted.staleIfErrorMs)) return undefined;
    this.#abandon(key, id);
    return { role: 'cached', stored: error, floor: this.#floor(key, floor) };
  }

  /** A leader is told what is stored but not fresh, if it may serve it meanwhile or when its load fails, or asks whether it holds. */
  #withStale(claim: Extract<Claim, { role: 'leader' }>, { key, min, floor, cache }: ClaimRequest): Claim {
    if (cache === undefined) return claim;
    const { value: stale } = this.#values.find(key, min, this.#floor(key, floor));
    const { staleMs, staleIfErrorMs, revalidateMs = 0 } = limitedBy(stale?.lifetimes, cache);
    if (stale === undefined || stale.ageMs >= Math.max(staleMs, staleIfErrorMs, revalidateMs)) return claim;
    return { ...claim, stale };
  }

  /** Keeps the newest outcome for those who waited for it; its message may be lost. */
  #retain(key: KeyHash, token: number, outcome: Outcome, retainMs: number): void {
    if ((this.#outcomes.get(key)?.token ?? 0) < token) this.#outcomes.set(key, { token, outcome }, retainMs);
  }

  /** It leads already: the reply was lost and this is the claim sent again (D2). */
  #leadAgain({ key, id, floor }: ClaimRequest): Claim | undefined {
    const lease = this.#leases.get(key);
    if (lease?.id !== id) return undefined;
    this.#leases.set(key, lease, this.#rules.leaseMs);
    const state = this.#states.get(key);
    if (state !== undefined) this.#states.keep(key, state, this.#stateTtlMs);
    return { role: 'leader', fencingToken: lease.token, attempt: (state?.attempts ?? 0) + 1, floor: this.#floor(key, floor) };
  }

  /** Somebody else leads. A waiter's `min` only ever goes down: raised, it could be passed over for ever (D17). */
  #follow(request: ClaimRequest, nowUs: number): Claim | undefined {
    const { key, id } = request;
    const lease = this.#leases.get(key);
    if (lease === undefined || this.#mayTakeOver(lease, request)) return undefined;
    const waiters = this.#waiters.get(key) ?? new Map<FlightId, number>();
    // The time, too: after a failover to a lagging copy the lease may be older than a load that has started since.
    const offered = request.strict === true ? Math.max(lease.token + 1, nowUs) : lease.token;
    const min = Math.min(offered, waiters.get(id) ?? Infinity, request.min > 0 ? request.min : Infinity);
    waiters.set(id, min);
    this.#waiters.keep(key, waiters, Math.max(8 * this.#rules.recheckMs + 1_000, this.#rules.leaseMs));
    return { role: 'follower', flightId: lease.id, min, leaseLeftMs: this.#leases.leftMs(key), floor: this.#floor(key, request.floor) };
  }

  #lead({ key, id, min, floor }: ClaimRequest, mayHaveWaiters: boolean, nowUs: number): Claim {
    const state = this.#states.get(key);
    const token = Math.max(nowUs, this.#issued(key) + 1, min + 1, floor + 1);
    const flight = { id, token };
    // Others may be waiting whom this server does not know: then the outcome is stored even if nobody is registered (D3, D15).
    const recovery = mayHaveWaiters || min > 0 || state?.flight !== undefined;
    const attempts = state?.attempts ?? 0;
    const knownFloor = state?.floor ?? token - 1;
    this.#leases.set(key, flight, this.#rules.leaseMs);
    this.#states.keep(key, { issued: token, floor: knownFloor, flight, recovery, attempts }, this.#stateTtlMs);
    this.#forget(key, id);
    return { role: 'leader', fencingToken: token, attempt: attempts + 1, floor: knownFloor };
  }

  /** The leader's process is gone, and the claimer is one who would hear of it if it were not. */
  #mayTakeOver(lease: Flight, { id, takeover }: ClaimRequest): boolean {
    return takeover && !this.#rules.listens(inboxOf(lease.id)) && this.#rules.listens(inboxOf(id));
  }

  /** Takes out and returns the waiters whom an outcome with this token may answer, whatever flight they first followed (D3). */
  #serve(key: KeyHash, token: number): FlightId[] {
    const served = [...(this.#waiters.get(key) ?? [])].filter(([, min]) => min <= token).map(([id]) => id);
    for (const id of served) this.#forget(key, id);
    return served;
  }

  /** One message per inbox; what is too large for a message is fetched by a claim with the waiter's id and min. */
  #outcomeMessages(key: KeyHash, served: readonly FlightId[], fencingToken: number, outcome: Outcome): Publication[] {
    const isLarge = outcome.kind !== 'unshareable' && outcome.bytes.byteLength > this.#rules.inlineBytesMax;
    const byInbox = new Map<string, FlightId[]>();
    for (const id of served) byInbox.set(inboxOf(id), [...(byInbox.get(inboxOf(id)) ?? []), id]);
    return [...byInbox].map(([to, ids]) => ({
      to,
      message: isLarge ? { kind: 'woken', key, ids } : { kind: 'settled', key, ids, fencingToken, outcome },
    }));
  }

  /** Nobody leads and somebody waits: the first who would hear of it is chosen. It stays registered, in case it does not. */
  #wakeOne(key: KeyHash): Publication[] {
    if (this.#leases.get(key) !== undefined) return [];
    const chosen = [...(this.#waiters.get(key)?.keys() ?? [])].find((id) => this.#rules.listens(inboxOf(id)));
    return chosen === undefined ? [] : [{ to: inboxOf(chosen), message: { kind: 'woken', key, ids: [chosen] } }];
  }

  #vacate(key: KeyHash, state: State): void {
    this.#leases.delete(key);
    state.flight = undefined;
    state.recovery = false;
  }

  /** The claimer has its answer: it waits no more, and a lease that an earlier copy of its claim took is nobody's. */
  #abandon(key: KeyHash, id: FlightId): void {
    this.#forget(key, id);
    const state = this.#states.get(key);
    if (state?.flight?.id === id) this.#vacate(key, state);
  }

  #forget(key: KeyHash, id: FlightId): void {
    const waiters = this.#waiters.get(key);
    waiters?.delete(id);
    if (waiters?.size === 0) this.#waiters.delete(key);
  }

  /** The last token of the key that is known; a lease may have outlived its state. */
  #issued(key: KeyHash): number {
    return Math.max(this.#states.get(key)?.issued ?? 0, this.#leases.get(key)?.token ?? 0);
  }

  #floor(key: KeyHash, presented: number): number {
    return Math.max(this.#states.get(key)?.floor ?? 0, presented);
  }

  get #stateTtlMs(): number {
    return 2 * this.#rules.leaseMs;
  }

  /** The longest recheck of a waiter that the server does not know, with its jitter, and the longest that its claim may take. */
  get #recoveryMs(): number {
    const { retainMs, recheckMs, commandTimeoutMs } = this.#rules;
    return Math.min(retainMs, 4 * recheckMs + Math.ceil(recheckMs / 5) + 8 * commandTimeoutMs);
  }

  /** Microseconds. Like a real server's clock it has moved on by the next operation, also when a manual clock stands. */
  #time(): number {
    this.#lastUs = Math.max(this.#lastUs + 1, SERVER_EPOCH_US + Math.floor(this.#rules.nowMs() * 1_000));
    return this.#lastUs;
  }
}

/** What the store runs on. */
export interface StoreRules {
  readonly leaseMs: number;
  readonly recheckMs: number;
  readonly commandTimeoutMs: number;
  readonly retainMs: number;
  readonly inlineBytesMax: number;
  readonly nowMs: () => number;
  /** Whether messages for this inbox have a receiver (`PUBSUB NUMSUB`). */
  readonly listens: (inbox: string) => boolean;
}

/** One operation's reply and what it publishes. */
export interface Executed<T> {
  readonly reply: T;
  readonly messages: readonly Publication[];
}

/** A message for one inbox, or for everyone. */
export interface Publication {
  readonly to: string;
  readonly message: Message;
}

/** A key that the store holds: which table of the protocol, for which logical key, for how long still. */
export interface StoredKey {
  readonly table: string;
  readonly key: KeyHash;
  readonly expiresInMs: number;
}

interface Flight {
  readonly id: FlightId;
  readonly token: number;
}

/** S. In the scripts: n, fl, f and t, rec, a. */
interface State {
  readonly issued: number;
  readonly floor: number;
  /** Kept when the lease ends, removed when the flight settles, is released or invalidated. */
  flight: Flight | undefined;
  recovery: boolean;
  /** Loads in a row that failed with an error that is not shared. */
  attempts: number;
}

interface KeptOutcome {
  readonly token: number;
  readonly outcome: Outcome;
}

/** The `to` of a broadcast; no inbox is called that. */
export const EVERYONE = '*';

/** Longer than any load may run: no flight from before an invalidation outlives the floor that fences it. */
const INVALIDATED_TTL_MS = 10 * 60_000;

/** Tokens as large as real ones, so that a number formatted or compared wrongly shows in tests. */
const SERVER_EPOCH_US = 1_700_000_000_000_000;

/** The inbox in `inbox#sequence`. */
export function inboxOf(id: FlightId): string {
  return id.slice(0, id.indexOf('#'));
}
