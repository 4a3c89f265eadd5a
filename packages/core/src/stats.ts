import type { CopyStats } from './coordinator.js';

/** What goes on now, and totals since the collapser was made. Plain numbers; no key appears anywhere. */
export interface CollapserStats {
  /** Flights that still answer somebody. */
  readonly flights: number;
  /** Flights that a call may join now. */
  readonly joinable: number;
  /** Loaders that run here now. */
  readonly loading: number;
  /** Callers that wait now. */
  readonly waiters: number;
  /** Iterations of `watch` under way. */
  readonly watchers: number;
  /** Keys and tags whose invalidation the coordinator has not acknowledged: it is sent again once it is back. */
  readonly owed: number;
  /** Whether the coordinator was out of reach when a flight last needed it. */
  readonly degraded: boolean;
  /** Copies of stored values in this process. Absent where the coordinator holds none. */
  readonly copies?: CopyStats;
  readonly totals: Readonly<Totals>;
}

/** Each call ends up in exactly one of leader, local, remote, linger, cache, stale, degraded, bypass, errors, timeouts and aborts. */
export interface Totals {
  /** Calls that were accepted. */
  calls: number;
  /** Answered with the value that the caller's own loader returned, as the one load of its key. */
  leader: number;
  /** Answered by a flight that another call of this process had started. */
  local: number;
  /** Answered by a load on another replica. */
  remote: number;
  /** Answered by an outcome that had settled up to `lingerMs` before. */
  linger: number;
  /** Answered by a stored value that was fresh. */
  cache: number;
  /** Answered by a stored value that was not fresh any more. */
  stale: number;
  /** Loaded here because the coordinator was out of reach. */
  degraded: number;
  /** Loaded without collapsing: over a limit, an answer that cannot be shared, or `mode: 'observe'`. */
  bypass: number;
  /** Ended with an error. */
  errors: number;
  /** Gave up after their `timeoutMs`. */
  timeouts: number;
  /** Gave up by their `signal`. */
  aborts: number;
  /** Loaders run here. */
  loads: number;
  /** Loads that failed or took longer than `loadTimeoutMs`. */
  loadErrors: number;
  /** Flights that this replica came to lead after it had waited for another one. */
  takeovers: number;
  /** `mode: 'observe'`: calls that would not have loaded. */
  wouldCollapse: number;
  /** Loads here whose value could not be encoded for other replicas. */
  untravelable: number;
  /** Messages that could not be used. */
  rejectedMessages: number;
  /** Outcomes of other replicas that could not be decoded. */
  unreadableOutcomes: number;
  /** Outcomes that the coordinator never acknowledged. */
  settlesLost: number;
  /** Claims given up that the coordinator never acknowledged; they end with their lease. */
  releasesLost: number;
}

/** All totals at zero. */
export function noTotals(): Totals {
  return {
    calls: 0,
    leader: 0,
    local: 0,
    remote: 0,
    linger: 0,
    cache: 0,
    stale: 0,
    degraded: 0,
    bypass: 0,
    errors: 0,
    timeouts: 0,
    aborts: 0,
    loads: 0,
    loadErrors: 0,
    takeovers: 0,
    wouldCollapse: 0,
    untravelable: 0,
    rejectedMessages: 0,
    unreadableOutcomes: 0,
    settlesLost: 0,
    releasesLost: 0,
  };
}
