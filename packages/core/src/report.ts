import type { CircuitState, FlightId, Outcome, RejectReason } from './coordinator.js';
import type { CoordinatorError, CoordinatorFailure } from './errors.js';
import type { BypassReason, Events, Operation } from './events.js';
import type { FlightReport } from './flight-host.js';
import type { LoadEnd } from './load.js';
import { noTotals, type Totals } from './stats.js';
import { isTraceparent } from './traceparent.js';
import type { CallOutcome } from './waiters.js';

const TOTAL_OF = { error: 'errors', timeout: 'timeouts', aborted: 'aborts' } as const;

/** Everything that happens in a collapser passes through here once: it is counted for `stats`, and told to those who listen. */
export class Report implements FlightReport {
  readonly #name: string;
  readonly #events: Events;
  readonly #totals = noTotals();
  #isDegraded = false;

  constructor(name: string, events: Events) {
    this.#name = name;
    this.#events = events;
  }

  get isDegraded(): boolean {
    return this.#isDegraded;
  }

  totals(): Totals {
    return { ...this.#totals };
  }

  called(): void {
    this.#totals.calls++;
  }

  left(flightId: FlightId, outcome: CallOutcome, waitedMs: number, callers: number): void {
    this.#left(flightId, outcome, waitedMs, 1);
    if (callers > 1) this.#left(flightId, isOfOne(outcome) ? 'local' : outcome, waitedMs, callers - 1);
  }

  #left(flightId: FlightId, outcome: CallOutcome, waitedMs: number, callers: number): void {
    this.#totals[outcome === 'error' || outcome === 'timeout' || outcome === 'aborted' ? TOTAL_OF[outcome] : outcome] += callers;
    if (!this.#events.areHeard('call')) return;
    for (let told = 0; told < callers; told++) this.#events.emit({ type: 'call', flightId, outcome, waitedMs });
  }

  bypassed(reason: BypassReason): void {
    this.#events.emit({ type: 'bypass', reason });
  }

  wouldCollapse(): void {
    this.#totals.wouldCollapse++;
    this.#events.emit({ type: 'collapsible' });
  }

  loadStarted(): void {
    this.#totals.loads++;
  }

  loadEnded(flightId: FlightId, source: 'leader' | 'degraded' | 'bypass', end: LoadEnd, durationMs: number, followers: number): void {
    const result = resultOf(end);
    if (end.how === 'error') this.#totals.loadErrors++;
    if (this.#events.areHeard('load')) this.#events.emit({ type: 'load', flightId, source, result, durationMs, followers });
  }

  elected(flightId: FlightId, result: 'won' | 'takeover' | 'lost' | 'settled', leaderId?: FlightId): void {
    if (result === 'takeover') this.#totals.takeovers++;
    if (this.#events.areHeard('election')) this.#events.emit({ type: 'election', flightId, result, leaderId });
  }

  detached(flightId: FlightId, why: 'lease_lost' | 'invalidated'): void {
    this.#events.emit({ type: 'detached', flightId, why });
  }

  duplicated(flightId: FlightId): void {
    this.#events.emit({ type: 'duplicate', flightId });
  }

  unshareable(flightId: FlightId, why: 'untravelable' | 'private'): void {
    this.#events.emit({ type: 'unshareable', flightId, why });
    if (why === 'private') return;
    this.#totals.untravelable++;
    if (this.#totals.untravelable > 1) return;
    this.#warn(
      'ONEFLIGHT_UNTRAVELABLE',
      'a loader returned a value that cannot travel to other replicas, so each of them loads it too. Return plain data (no class instances or functions), or give a codec',
    );
  }

  settled(flightId: FlightId, bytes: number): void {
    if (this.#events.areHeard('settle')) this.#events.emit({ type: 'settle', flightId, bytes });
  }

  received(flightId: FlightId, outcome: Outcome): void {
    if (!this.#events.areHeard('received')) return;
    // It may come from another version or from an enemy: what is no traceparent is dropped here.
    const trace = outcome.kind !== 'unshareable' && isTraceparent(outcome.trace) ? outcome.trace : undefined;
    this.#events.emit({ type: 'received', flightId, result: outcome.kind, trace });
  }

  operated(operation: Operation, durationMs: number, error: CoordinatorFailure | undefined): void {
    if (this.#events.areHeard('operation')) this.#events.emit({ type: 'operation', operation, durationMs, error });
  }

  lost(what: 'settle' | 'release'): void {
    this.#totals[what === 'settle' ? 'settlesLost' : 'releasesLost']++;
    this.#events.emit({ type: 'lost', what });
  }

  rejected(reason: RejectReason): void {
    this.#totals.rejectedMessages++;
    this.#refused(reason);
  }

  unreadable(): void {
    this.#totals.unreadableOutcomes++;
    this.#refused('unreadable');
  }

  #refused(reason: RejectReason | 'unreadable'): void {
    this.#events.emit({ type: 'rejected', reason });
    const { rejectedMessages, unreadableOutcomes } = this.#totals;
    if (rejectedMessages + unreadableOutcomes > 1) return;
    this.#warn(
      'ONEFLIGHT_REJECTED',
      `something of another replica was refused (${reason}), so this one loads for itself. Give all replicas of this name the same secret, codec, limits and version`,
    );
  }

  hearing(listening: boolean): void {
    this.#events.emit({ type: 'hearing', listening });
  }

  circuit(state: CircuitState): void {
    this.#events.emit({ type: 'circuit', state });
  }

  reached(): void {
    if (!this.#isDegraded) return;
    this.#isDegraded = false;
    this.#events.emit({ type: 'degraded', degraded: false });
  }

  unreached(error: CoordinatorError): void {
    if (this.#isDegraded) return;
    this.#isDegraded = true;
    this.#events.emit({ type: 'degraded', degraded: true });
    this.#warn(
      'ONEFLIGHT_DEGRADED',
      `${error.message.replace(/\.$/, '')}. Calls go on, collapsed inside this process only, until it answers again`,
    );
  }

  /** For what its operator should know, said once and not per call. */
  #warn(code: string, message: string): void {
    process.emitWarning(`oneflight '${this.#name}': ${message}`, { type: 'OneflightWarning', code });
  }
}

/** Whether it is said of one caller alone, whose call brought the answer; who shared its wait joined it. */
function isOfOne(outcome: CallOutcome): boolean {
  return outcome === 'leader' || outcome === 'remote' || outcome === 'degraded' || outcome === 'bypass';
}

function resultOf(end: LoadEnd): 'ok' | 'error' | 'timeout' | 'aborted' {
  switch (end.how) {
    case 'value':
      return 'ok';
    case 'aborted':
      return 'aborted';
    case 'error':
      return end.timedOut ? 'timeout' : 'error';
  }
}
