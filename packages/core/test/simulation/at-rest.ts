import type { StoredKey } from '../../src/testing/memory-store.js';
import { endedCalls } from '../../src/testing/index.js';
import type { CallEnd } from './history.js';
import { keyName } from './keys.js';
import type { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';

/** When nobody waits, nothing flies and nothing is on its way, nobody holds a lease and nobody is registered (I6). */
export function checkLeftovers({ checks }: Run, idle: readonly SimulatedReplica[], held: readonly StoredKey[]): void {
  for (const replica of idle) {
    const { joinable, waiters, loading } = replica.collapser.stats();
    if (joinable + waiters + loading !== 0)
      checks.fail('I6 leaks', `${replica.name} is idle with ${joinable} joinable, ${waiters} waiters, ${loading} loading`);
  }
  for (const { table, key } of held) {
    if (table === 'L' || table === 'W') checks.fail('I6 leaks', `nobody uses ${keyName(key)} and the server holds its ${table}`);
  }
}

/** All is healed, so every invalidation was sent, be it that nobody asks for its key any more (I9). */
export function checkDebts({ checks }: Run, live: readonly SimulatedReplica[]): void {
  for (const { name, state, collapser } of live) {
    const { owed } = collapser.stats();
    if (state === 'running' && owed > 0) checks.fail('I9 debts', `${name} still owes ${owed} invalidations`);
  }
}

/** Each call ended up in exactly one total, and in the one that its caller saw. */
export function checkTotals({ checks, history }: Run, replica: SimulatedReplica): void {
  const { totals } = replica.collapser.stats();
  const { calls, leader, local, remote, degraded, bypass, errors, timeouts, aborts } = totals;
  const ended = leader + local + remote + degraded + bypass + errors + timeouts + aborts;
  if (calls !== ended) checks.fail('totals', `${replica.name} accepted ${calls} calls and ended ${ended}`);
  const own = history.calls.filter((call) => call.replica === replica.name);
  const seen = (how: CallEnd['how']): number => own.filter(({ end }) => end?.how === how).length;
  if (
    own.length !== calls ||
    seen('value') !== leader + local + remote + degraded + bypass ||
    seen('timeout') !== timeouts ||
    seen('left') !== aborts
  ) {
    checks.fail('totals', `${replica.name} counted ${JSON.stringify(totals)}, its callers saw otherwise`);
  }
}

/** A replica that was closed holds nothing, and has counted each call. */
export function checkClosed({ checks }: Run, replica: SimulatedReplica): void {
  const { flights, waiters, joinable, totals } = replica.collapser.stats();
  if (endedCalls(totals) !== totals.calls)
    checks.fail('I8 totals', `${replica.name}: ${endedCalls(totals)} of ${totals.calls} calls were counted as ended`);
  if (flights + waiters + joinable !== 0)
    checks.fail('I6 leaks', `${replica.name} closed with ${flights} flights, ${waiters} waiters, ${joinable} joinable`);
}

/** In the end every replica was closed, without a timer. */
export function checkEnd({ checks, replicas }: Run): void {
  for (const replica of replicas) {
    if (replica.state !== 'running') continue;
    if (replica.closing !== 'closed') checks.fail('I6 leaks', `${replica.name} never closed`);
    if (replica.armed !== 0) checks.fail('I6 leaks', `${replica.name} left ${replica.armed} timers behind`);
  }
}

/** Much later the server holds nothing: all that there was had an expiry. */
export function checkExpired({ checks }: Run, held: readonly StoredKey[]): void {
  if (held.length === 0) return;
  checks.fail('I6 leaks', `the server still holds ${held.map(({ table, key }) => `${table} of ${keyName(key)}`).join(', ')}`);
}
