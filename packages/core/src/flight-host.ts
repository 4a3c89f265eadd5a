import type { ClaimantHost } from './claimant.js';
import type { CoordinatorLink } from './coordinator.js';
import type { CoordinatorError } from './errors.js';
import type { Flight } from './flight.js';
import type { PresenceWatch } from './presence.js';
import type { LoadStack } from './reentrancy.js';
import type { Source, Waiter } from './waiters.js';

/** Things that a flight counts as they happen. */
export type Counted = 'loads' | 'loadErrors' | 'takeovers' | 'unreadableOutcomes' | 'settlesLost' | 'releasesLost';

/** What a flight needs from its collapser. */
export interface FlightHost extends ClaimantHost {
  /** Absent: collapse inside this process only. */
  readonly link: CoordinatorLink | undefined;
  /** Present while the first attempt to reach the coordinator is under way. */
  readonly opening: Promise<void> | undefined;
  /** Absent where presence cannot be seen. */
  readonly presence: PresenceWatch | undefined;
  readonly loads: LoadStack<Flight>;
  random(): number;
  count(what: Counted): void;
  /** Makes the flight unjoinable, if it is still the one that calls of its key join. */
  leave(flight: Flight): void;
  /** The flight is over and answers nobody any more. */
  ended(flight: Flight): void;
  answered(waiter: Waiter, source: Source | 'error'): void;
  gaveUp(waiter: Waiter, why: 'timeout' | 'aborted'): void;
  /** A value could not be encoded: the other replicas load for themselves. */
  untravelable(): void;
  /** The coordinator answered. */
  reached(): void;
  /** The coordinator is out of reach and a flight goes on without it. */
  unreached(error: CoordinatorError): void;
}
