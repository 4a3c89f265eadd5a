import { createHash } from 'node:crypto';
import type { FlightId, LoadContext } from '../../src/index.js';
import type { OperationName } from '../../src/testing/index.js';
import type { CallPlan, LoadPlan } from './plan.js';

/** One call as its caller saw it. `seq` numbers give the order of everything that was recorded. */
export interface CallRecord {
  readonly id: number;
  readonly plan: CallPlan;
  readonly replica: string;
  readonly startedAt: number;
  readonly startedSeq: number;
  /** The flight that it joined or started; undefined for a call that never got so far. */
  flightId: FlightId | undefined;
  /** The highest floor of the key that this replica was told of before the call. */
  readonly known: Known | undefined;
  /** The highest floor of an invalidation of the key that had resolved before the call, on any replica. */
  readonly acknowledged: Known | undefined;
  /** When the last invalidation began that this replica was told before the call had failed. */
  readonly failedSeq: number | undefined;
  readonly leaves: AbortController;
  left: boolean;
  end: CallEnd | undefined;
}

export interface CallEnd {
  readonly at: number;
  readonly seq: number;
  readonly how: 'value' | 'error' | 'timeout' | 'left' | 'load-timeout' | 'coordinator' | 'closed' | 'unexpected';
  readonly load: number | undefined;
  readonly source: string | undefined;
}

export interface Known {
  readonly floor: number;
  readonly seq: number;
}

/** One run of a loader. */
export interface LoadRecord {
  readonly id: number;
  readonly caller: CallRecord;
  readonly plan: LoadPlan;
  readonly key: string;
  readonly replica: string;
  readonly context: LoadContext;
  readonly flightId: FlightId;
  readonly token: number | undefined;
  readonly startedAt: number;
  readonly startedSeq: number;
  /** When the claim that gave it its token was executed. */
  readonly grantedSeq: number;
  wasMadePrivate: boolean;
  end: { readonly at: number; readonly seq: number; readonly how: 'value' | 'error' } | undefined;
  aborted: { readonly at: number; readonly seq: number; readonly reason: unknown } | undefined;
}

/** One operation of a replica: sent once, executed any number of times. */
export interface OperationRecord {
  readonly op: OperationName;
  readonly replica: string;
  readonly key: string;
  readonly id: FlightId | undefined;
  readonly sentAt: number;
  readonly executed: number[];
  /** Invalidations of the key that were executed before it. */
  floorBefore: number;
}

/** What the server did for one flight id, by sequence number. */
export interface FlightRecord {
  readonly id: FlightId;
  readonly key: string;
  readonly replica: string;
  readonly createdSeq: number;
  /** Its first claim asked for a load that starts later. */
  readonly isStrict: boolean;
  readonly claims: number[];
  /** Settled or released. */
  readonly closed: number[];
  /** What the replies to its claims and renewals told of floors. */
  readonly told: Known[];
  /** Whom it follows, since when. */
  following: { readonly leader: FlightId; readonly seq: number } | undefined;
}

/** Everything that happened in one run, and a hash of it that is the same whenever the same happened. */
export class History {
  readonly calls: CallRecord[] = [];
  readonly pending = new Set<CallRecord>();
  readonly loads: LoadRecord[] = [];
  readonly flights = new Map<FlightId, FlightRecord>();
  /** Executed invalidations by key, lowest floor first. */
  readonly floors = new Map<string, Known[]>();
  readonly faults = new Map<string, number>();
  readonly lines: string[] = [];
  readonly #activity = new Map<string, number>();
  readonly #hash = createHash('sha256');
  readonly #now: () => number;
  #seq = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Writes a line of the trace and returns its sequence number. */
  note(who: string, what: string): number {
    const line = `${this.#now().toFixed(1).padStart(9)} ${who.padEnd(10)} ${what}`;
    this.lines.push(line);
    this.#hash.update(line).update('\n');
    return ++this.#seq;
  }

  get hash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  /** Something happens to the key. */
  touch(key: string): void {
    this.#activity.set(key, this.#now());
  }

  /** The last moment at which something happened to the key. */
  lastActivity(key: string): number {
    return this.#activity.get(key) ?? 0;
  }

  countFault(kind: string): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
  }

  loadsOf(key: string): LoadRecord[] {
    return this.loads.filter((load) => load.key === key);
  }

  /** The highest floor of the key among the invalidations executed before. */
  floorAt(key: string, seq: number): number {
    return highest(this.floors.get(key) ?? [], seq)?.floor ?? 0;
  }
}

/** The highest floor known before a moment. */
export function highest(known: readonly Known[], before: number): Known | undefined {
  let found: Known | undefined;
  for (const one of known) if (one.seq < before && one.floor > (found?.floor ?? 0)) found = one;
  return found;
}

/** Whether the loader still works for somebody. A loader that never looks at its signal may run on; nobody hears of it. */
export function isRunning(load: LoadRecord): boolean {
  return load.end === undefined && !load.context.signal.aborted;
}

/** Whether the load ended without an outcome that may answer others. */
export function leavesWork(load: LoadRecord): boolean {
  const { aborted, reason } = load.context.signal;
  const timedOut = aborted && reason instanceof Error && Reflect.get(reason, 'code') === 'ERR_ONEFLIGHT_LOAD_TIMEOUT';
  if (load.wasMadePrivate || (aborted && !timedOut)) return true;
  return (timedOut || load.end?.how === 'error') && !load.caller.plan.sharesErrors;
}
