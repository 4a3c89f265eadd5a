import type { Clock } from './clock.js';
import type { Codec } from './codec.js';
import type { Traceparent } from './traceparent.js';

/**
 * The seam between core and whatever decides who leads: Redis, or the memory hub of `@oneflight/core/testing`.
 *
 * A coordinator is a thin transport. Each operation is one round trip that may fail, hang, or be executed twice; the
 * rules of a replica (retries, rechecks, renewals, floors, degradation) live in core, where a simulation can reach
 * them. The rules themselves are in docs/protocol.md.
 */
export interface Coordinator {
  /** Clock to run on, where the coordinator brings its own (a simulated one). @default the process's clock */
  readonly clock?: Clock;
  /**
   * Joins one collapser. Returns at once and never throws for a server that is away: the operations of the link say so.
   */
  connect(replica: Replica): CoordinatorLink;
}

/** What a collapser tells its coordinator about itself, and where messages for it go. */
export interface Replica {
  /** Collapsers with the same namespace share flights. */
  readonly namespace: string;
  /** Called for each message, in the order of arrival; never throws. */
  receive(message: Message): void;
}

/** One collapser's connection to its coordinator. */
export interface CoordinatorLink {
  /** Where messages for this replica arrive; unique per process start. Ids are `inbox#sequence`. */
  readonly inbox: string;
  readonly timings: CoordinatorTimings;
  /** How values travel unless a call brings a codec of its own. */
  readonly codec: Codec;
  /** Larger outcomes do not travel: each replica then loads for itself. @default no limit */
  readonly payloadBytesMax?: number;
  /**
   * While the first attempt to connect is under way: resolves when the link can be used or is known to be out of reach.
   * Flights wait for it before their first claim, so that a replica which has just started does not load alone. It has a
   * limit of its own, and never rejects.
   */
  readonly opening?: Promise<void>;
  /** Asks to lead. Safe to send again with the same id. */
  claim(request: ClaimRequest): Promise<Claim>;
  /** Extends the lease, or finds it lost. */
  renew(request: HolderRequest): Promise<Renewal>;
  /** Ends a flight and answers those who wait for it. Safe to send again. */
  settle(request: SettleRequest): Promise<Settlement>;
  /** Gives up a claim, led or followed, that nobody needs any more; wakes one waiter if nobody leads. */
  release(request: ReleaseRequest): Promise<void>;
  /** Fences the key: nothing begun before is ever given to a call made after. Returns the key's new floor. */
  invalidate(request: { readonly key: KeyHash }): Promise<number>;
  /** The value that is stored, of whatever age; registers nobody and changes nothing. Absent: nothing is ever stored. */
  peek?(request: PeekRequest): Promise<StoredOutcome | undefined>;
  /**
   * Reads the key's floor where it was written, never from a copy that may lag behind: every invalidation that was
   * acknowledged before is in it. `undefined` where the key is not known. Absent where that cannot be had: callers who
   * joined a flight late and ask for a confirmed outcome then wait for the next flight instead.
   */
  floor?(request: { readonly key: KeyHash }): Promise<number | undefined>;
  /**
   * Which of these leaders' processes are gone, one answer per id. Absent where presence cannot be seen; then a dead
   * leader is noticed when its lease ends.
   */
  absent?(leaders: readonly FlightId[]): Promise<readonly boolean[]>;
  /**
   * A copy of what is stored, held in this process: it costs no round trip. Undefined where there is none that does for
   * every caller. Absent: none are held.
   */
  copyOf?(request: { readonly key: KeyHash; readonly floor: number; readonly read: CopyRead }): StoredOutcome | undefined;
  /** What those copies did, and hold now. Absent: none are held. */
  copies?(): CopyStats;
  /** Which keys carry a tag. Absent where nothing is stored: then there is nothing to invalidate by tag. */
  readonly tags?: TagIndex;
  /** Drops the connection. Whatever is under way may fail. */
  close(): Promise<void>;
}

/**
 * Which stored keys carry a tag, and when each tag was last invalidated. A tag lives on another server of a cluster than
 * the keys that carry it, so no operation does both; docs/protocol.md has the order of steps that makes it safe. All may
 * be sent again.
 */
export interface TagIndex {
  /** The token of the last invalidation of any tag of the namespace; 0 where there was none for as long as a load may run. */
  time(): Promise<number>;
  /** Begins an invalidation: a token above all earlier ones of the namespace. */
  advance(): Promise<number>;
  /**
   * Notes under each tag that the key carries it, for `livesMs`; 0 notes nothing. Returns the highest token with which one
   * of these tags was invalidated, 0 for none.
   */
  attach(request: { readonly key: KeyHash; readonly tags: readonly TagHash[]; readonly livesMs: number }): Promise<number>;
  /**
   * Marks the tag as invalidated with this token and sets the keys noted so far aside, as one batch. Returns all batches
   * that wait to be invalidated: those of an invalidation that was broken off, too.
   */
  detach(request: { readonly tag: TagHash; readonly token: number }): Promise<readonly string[]>;
  /** Takes `done` out of a batch; returns keys that are left in it, so many at a time. None: the batch is done. */
  take(request: { readonly tag: TagHash; readonly batch: string; readonly done: readonly KeyHash[] }): Promise<readonly KeyHash[]>;
  /** Tells every replica that the tag was invalidated. */
  announce(request: { readonly tag: TagHash; readonly token: number }): Promise<void>;
}

/** The durations that both sides of the seam must agree on, in milliseconds. */
export interface CoordinatorTimings {
  readonly leaseMs: number;
  readonly recheckMs: number;
  readonly commandTimeoutMs: number;
  readonly retainMs: number;
}

/** SHA-256 of namespace and canonical key in base64url: the only form in which a key leaves the process. */
export type KeyHash = string;
/** SHA-256 of namespace and tag in base64url. */
export type TagHash = string;
/** `inbox#sequence`, chosen by the claimer before it asks: names its flight if it leads, its waiter if it follows. */
export type FlightId = string;

export interface ClaimRequest {
  readonly key: KeyHash;
  readonly id: FlightId;
  /** The lowest token that may answer this claimer; 0 when it asks for the first time. */
  readonly min: number;
  /** The highest floor this replica has seen for the key; heals an invalidation that the server lost. */
  readonly floor: number;
  /** The leader's process is gone: lead although its lease still runs. */
  readonly takeover: boolean;
  /** It must be answered by a load that starts later: where somebody leads, its min is above that leader's token. @default false */
  readonly strict?: boolean;
  /** How old a stored outcome may be that answers this claim. Absent: none may. */
  readonly cache?: CacheRead;
}

/** How old stored outcomes may be, in milliseconds, that answer a claim. */
export interface CacheRead {
  /** Values up to this age answer it. */
  readonly freshMs: number;
  /** Errors up to this age answer it. */
  readonly freshErrorMs: number;
  /** Values up to this age answer it while somebody loads a new one. */
  readonly staleMs: number;
  /** Values up to this age come with the right to lead, for the case that the load fails. */
  readonly staleIfErrorMs: number;
  /** Values up to this age come with the right to lead, for a load that asks whether they still hold. @default 0 */
  readonly revalidateMs?: number;
}

/** Which copy of a stored value, held in this process, answers all callers of a flight without asking the coordinator. */
export interface CopyRead {
  /** In milliseconds: one up to this age is fresh to each of them. */
  readonly freshMs: number;
  /** One of them may refresh a value early: then the coordinator is asked when its end is near. */
  readonly refreshesEarly: boolean;
}

/** What the copies of stored values in one process did since the collapser was made, and hold now. Plain numbers. */
export interface CopyStats {
  /** Reads that a copy answered, without a round trip. One read answers all callers of its flight. */
  readonly hits: number;
  /** Reads for which there was no copy. */
  readonly misses: number;
  /** Reads for which there was one that did not do: too old for a caller, not to be used any longer, or about to be refreshed. */
  readonly outdated: number;
  /** Copies given up because there was no room for them. */
  readonly evicted: number;
  /** Copies dropped because their key was invalidated. */
  readonly invalidated: number;
  /** Copies dropped because messages may have been lost. */
  readonly cleared: number;
  /** Now: copies, the bytes that they take, and how many they may take. */
  readonly entries: number;
  readonly bytes: number;
  readonly bytesMax: number;
}

/** How long, in milliseconds, a settled outcome is stored for claims that accept it. 0: not at all. */
export interface CacheWrite {
  readonly valueMs: number;
  readonly errorMs: number;
  /** How long the load took; early refresh needs it. */
  readonly loadMs: number;
  /** What the value allows by its own word. Absent: only what a claim accepts counts. */
  readonly lifetimes?: StoredLifetimes;
  /** How old the value was already when it settled. @default 0 */
  readonly ageMs?: number;
}

/** What a stored value allows by its own word, in milliseconds; a claim gets the lower of each and what it accepts itself. */
export interface StoredLifetimes {
  /** Up to this age it is fresh. */
  readonly ttlMs: number;
  /** After it stopped being fresh it answers for this long still while somebody loads a new one. */
  readonly staleWhileRevalidateMs: number;
  /** After it stopped being fresh it answers for this long still where the load of a new one fails. */
  readonly staleIfErrorMs: number;
}

/** An outcome from the store. */
export interface StoredOutcome {
  readonly outcome: Outcome;
  readonly fencingToken: number;
  readonly ageMs: number;
  readonly loadMs: number;
  readonly lifetimes?: StoredLifetimes;
}

export interface PeekRequest {
  readonly key: KeyHash;
  /** The highest floor this replica has seen for the key. */
  readonly floor: number;
}

export interface HolderRequest {
  readonly key: KeyHash;
  readonly id: FlightId;
  readonly token: number;
}

export interface SettleRequest extends HolderRequest {
  readonly outcome: Outcome;
  /** Absent: the outcome is not stored. It is never stored by a flight that no longer owns its key. */
  readonly cache?: CacheWrite;
}

export interface ReleaseRequest {
  readonly key: KeyHash;
  readonly id: FlightId;
  /** The load failed and its error is not shared: the next leader is told that it is one more attempt. @default false */
  readonly failed?: boolean;
}

/** The answer to a claim: what this replica is to do next. Each case carries the key's floor. */
export type Claim =
  /** Load. `attempt` counts the loads of this key that failed in a row with an error that was not shared, plus 1. */
  | {
      readonly role: 'leader';
      readonly fencingToken: number;
      readonly attempt: number;
      readonly floor: number;
      /** What is stored but no longer fresh: may be served meanwhile, or if the load fails. */
      readonly stale?: StoredOutcome;
    }
  /** Somebody else loads; wait for an outcome with a token of at least `min`. */
  | { readonly role: 'follower'; readonly flightId: FlightId; readonly min: number; readonly leaseLeftMs: number; readonly floor: number }
  /** It is already done for you. */
  | { readonly role: 'settled'; readonly outcome: Outcome; readonly fencingToken: number; readonly floor: number }
  /** Stored, and as fresh as was asked for. */
  | { readonly role: 'cached'; readonly stored: StoredOutcome; readonly floor: number }
  /** Stored, no longer fresh, and somebody else loads a new one: nothing is registered for this claimer. */
  | { readonly role: 'stale'; readonly stored: StoredOutcome; readonly floor: number };

/** The answer to a renewal. `waiters` counts the replicas that wait for the key; `floor` is absent where it is unknown. */
export type Renewal =
  | { readonly state: 'held'; readonly floor: number; readonly waiters: number }
  | { readonly state: 'detached'; readonly floor: number | undefined };

/** The answer to a settle; `detached`: the flight no longer owned its key, its own waiters were answered all the same. */
export interface Settlement {
  readonly state: 'settled' | 'detached';
  readonly floor: number | undefined;
}

/**
 * How a flight ended, in the form that travels between processes. `trace` names the span in which its load ran; it is
 * absent where the load is not traced, and nothing but a name: whoever takes an outcome may drop it.
 */
export type Outcome =
  | { readonly kind: 'value'; readonly bytes: Uint8Array; readonly trace?: Traceparent }
  | { readonly kind: 'error'; readonly bytes: Uint8Array; readonly trace?: Traceparent }
  /**
   * `untravelable`: the value cannot be encoded, each replica loads for itself.
   * `private`: the answer belongs to the caller that led, each waiter loads for itself.
   */
  | { readonly kind: 'unshareable'; readonly why: 'untravelable' | 'private' };

/** What arrives at a replica without being asked for. It may be lost, late, repeated, or overtake a reply. */
export type Message =
  /** The outcome that these waiters of this replica wait for. */
  | {
      readonly kind: 'settled';
      readonly key: KeyHash;
      readonly ids: readonly FlightId[];
      readonly fencingToken: number;
      readonly outcome: Outcome;
    }
  /** Claim now: nobody leads and this one was chosen, or its outcome is too large for a message and waits to be fetched. */
  | { readonly kind: 'woken'; readonly key: KeyHash; readonly ids: readonly FlightId[] }
  /** The key was invalidated: outcomes with a token up to `floor` answer no new call. */
  | { readonly kind: 'invalidated'; readonly key: KeyHash; readonly floor: number }
  /** The tag was invalidated: what answers new calls for keys that carry it was begun after that. */
  | { readonly kind: 'tag-invalidated'; readonly tag: TagHash; readonly token: number }
  /** Messages may have been lost from here on. */
  | { readonly kind: 'deaf' }
  /** Messages arrive again; the server has acknowledged it. */
  | { readonly kind: 'listening' }
  /** Something arrived that could not be used. */
  | { readonly kind: 'rejected'; readonly reason: RejectReason }
  /** The coordinator's circuit breaker has changed: while it is not closed, operations are refused at once. */
  | { readonly kind: 'circuit'; readonly state: CircuitState };

export type RejectReason = 'malformed' | 'unknown_version' | 'bad_signature' | 'key_mismatch' | 'stale_token' | 'too_large';
export type CircuitState = 'closed' | 'open' | 'half_open';
