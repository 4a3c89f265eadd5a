import type { Totals } from '../stats.js';
import type { CallOutcome } from '../waiters.js';

/**
 * How many calls have ended, by what is counted of each way to end. Each call is counted in exactly one: once nobody waits
 * any more this is `totals.calls`.
 */
export function endedCalls(totals: Readonly<Totals>): number {
  return Object.values(TOTAL_OF).reduce((sum, name) => sum + totals[name], 0);
}

/** Where each outcome of a call is counted. The compiler keeps it complete. */
const TOTAL_OF: Readonly<Record<CallOutcome, keyof Totals>> = {
  leader: 'leader',
  local: 'local',
  remote: 'remote',
  linger: 'linger',
  cache: 'cache',
  stale: 'stale',
  degraded: 'degraded',
  bypass: 'bypass',
  error: 'errors',
  timeout: 'timeouts',
  aborted: 'aborts',
};
