import type { ClaimantHost, ClaimantReport } from './claimant.js';
import type { CoordinatorLink, FlightId, KeyHash, Outcome } from './coordinator.js';
import type { Deadlines } from './deadlines.js';
import type { CoordinatorError } from './errors.js';
import type { Flight } from './flight/flight.js';
import type { CanonicalKey } from './key.js';
import type { LoadEnd } from './load.js';
import type { LocalValues } from './local-values.js';
import type { PresenceWatch } from './presence.js';
import type { CallOutcome, Waiter } from './waiters.js';

/** What a flight needs from its collapser. */
export interface FlightHost extends ClaimantHost {
  readonly deadlines: Deadlines;
  /** Absent: collapse inside this process only. */
  readonly link: CoordinatorLink | undefined;
  /** Present while the first attempt to reach the coordinator is under way. */
  readonly opening: Promise<void> | undefined;
  /** Absent where presence cannot be seen. */
  readonly presence: PresenceWatch | undefined;
  /** Outcomes stored in this process, where there is no coordinator to store them. */
  readonly values: LocalValues;
  random(): number;
  /**
   * Sends an invalidation of the key that could not be sent before, if one is owed: until it is, a claim could find the
   * very flight that was to be fenced. Returns why it failed again.
   */
  payInvalidation(key: KeyHash): Promise<CoordinatorError | undefined> | undefined;
  /** A tag as messages name it. */
  tagName(tag: string): string;
  /** Whether calls of its key still join this flight; not after an invalidation. */
  isJoinable(flight: Flight): boolean;
  /** Its claim was answered and another replica leads: calls that need a later load need not wait for this flight. */
  makeWay(flight: Flight): void;
  /** Its load is about to start, with this token: who waits for a load that starts later comes along. */
  takeAboard(flight: Flight, token: number | undefined): void;
  /** Makes the flight unjoinable, if it is still the one that calls of its key join. */
  leave(flight: Flight): void;
  /** A caller that the flight may not answer waits for the next one of the key. */
  boardNext(key: CanonicalKey, waiter: Waiter): void;
  /** The flight is over and answers nobody any more. */
  ended(flight: Flight): void;
  readonly report: FlightReport;
}

/** What a flight tells as it happens; counted, and published to those who listen. */
export interface FlightReport extends ClaimantReport {
  /** A caller has left, answered or not, with those who shared its wait. */
  left(id: FlightId, outcome: CallOutcome, waitedMs: number, callers: number): void;
  loadStarted(): void;
  loadEnded(id: FlightId, source: 'leader' | 'degraded' | 'bypass', end: LoadEnd, durationMs: number, followers: number): void;
  elected(id: FlightId, result: 'won' | 'takeover' | 'lost' | 'settled', leaderId?: FlightId): void;
  unshareable(id: FlightId, why: 'untravelable' | 'private'): void;
  settled(id: FlightId, bytes: number): void;
  /** The outcome of another replica's load came. */
  received(id: FlightId, outcome: Outcome): void;
  unreadable(): void;
  /** The coordinator answered. */
  reached(): void;
  /** The coordinator is out of reach and a flight goes on without it. */
  unreached(error: CoordinatorError): void;
}
