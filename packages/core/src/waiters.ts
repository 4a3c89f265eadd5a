import { onAbort } from './abort-listeners.js';
import type { Bounded, Deadlines } from './deadlines.js';
import type { Clock, Timer } from './clock.js';
import type { FlightId } from './coordinator.js';
import { WaitTimeoutError } from './errors.js';
import { isolated } from './isolate.js';
import type { Key } from './key.js';
import type { CallOptions, Loader } from './options.js';
import type { Rechecks } from './rechecks.js';

/** How a call was answered. */
export type Source = 'leader' | 'local' | 'remote' | 'linger' | 'cache' | 'stale' | 'degraded' | 'bypass';

/** A value and how the caller came by it. */
export interface FlightResult<T> {
  readonly value: T;
  /**
   * `leader`: this caller's loader ran. `local`: joined a flight of this process. `remote`: another replica loaded.
   * `linger`, `cache`, `stale`: stored, and as old as `lingerMs`, `ttlMs` or what extends it allow. `degraded`: loaded here because the coordinator was out of reach. `bypass`: not collapsed.
   */
  readonly source: Source;
  readonly flightId: FlightId;
  /** Time from call to answer in milliseconds. */
  readonly waitedMs: number;
  /** Age of the value in milliseconds; 0 for one that was loaded during the call. */
  readonly ageMs: number;
}

/**
 * Told a caller whose loader would run: `asking`, a claim is under way; `following`, somebody else loads. The loader's call
 * or the answer end the asking too.
 */
export type OnElection = (state: 'asking' | 'following') => void;

/** A caller that is one key of a call of many. */
export interface OneOfMany {
  readonly onElection: OnElection;
  /** When it looks again for what another replica loads: when the other keys of its call do. */
  readonly rechecks: Rechecks;
}

/** One caller waiting for a flight, or several who wait as one. */
export interface Waiter {
  readonly key: Key;
  readonly loader: Loader<unknown>;
  readonly options: CallOptions;
  /** Since when it has waited. */
  joinedAt: number;
  /** For how many callers it stands: more than one where they share its promise. */
  callers: number;
  /** Whether the caller is told how it came by the value: then it gets a FlightResult, else the value. */
  readonly tellsHow: boolean;
  /** Settle the caller's promise. */
  resolve(answer: unknown): void;
  reject(error: unknown): void;
  readonly ofMany: OneOfMany | undefined;
  /** Where it waits, and between whom: `Waiters` alone writes what follows. */
  line: Waiters | undefined;
  ahead: Waiter | undefined;
  behind: Waiter | undefined;
  unlisten: (() => void) | undefined;
}

/** How a call ended: its value's source, or how it failed. */
export type CallOutcome = Source | 'error' | 'timeout' | 'aborted';

/** What they wait for. */
export interface Awaited {
  readonly id: FlightId;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** A waiter is no longer there, however it left. */
  onLeft(waiter: Waiter, outcome: CallOutcome, waitedMs: number): void;
}

/**
 * Those who wait for one flight, in order of arrival. Each leaves by itself, by its own deadline or signal, and touches nobody
 * else. They are linked to each other: a line of thousands costs no table, and who leaves it no search.
 */
export class Waiters implements Bounded {
  readonly #awaited: Awaited;
  #first: Waiter | undefined;
  #last: Waiter | undefined;
  #size = 0;
  #callers = 0;
  /** One deadline for all: the earliest. */
  #alarm: Timer | undefined;
  #alarmAt = Number.POSITIVE_INFINITY;

  constructor(awaited: Awaited) {
    this.#awaited = awaited;
  }

  get size(): number {
    return this.#size;
  }

  /** For how many callers they stand. */
  get callers(): number {
    return this.#callers;
  }

  has(waiter: Waiter): boolean {
    return waiter.line === this;
  }

  /** Who has waited longest. */
  first(): Waiter | undefined {
    return this.#first;
  }

  all(): readonly Waiter[] {
    if (this.#first !== undefined && this.#first === this.#last) return [this.#first]; // Most often; a list that grows has room for many.
    const all: Waiter[] = [];
    for (let waiter = this.#first; waiter !== undefined; waiter = waiter.behind) all.push(waiter);
    return all;
  }

  add(waiter: Waiter): void {
    const { signal } = waiter.options;
    waiter.line = this;
    waiter.ahead = this.#last;
    if (this.#last === undefined) this.#first = waiter;
    else this.#last.behind = waiter;
    this.#last = waiter;
    this.#size += 1;
    this.#callers += waiter.callers;
    if (signal !== undefined) waiter.unlisten = onAbort(signal, () => this.#giveUp(waiter, 'aborted', signal.reason));
    if (this.#size > 1) waiter.ofMany?.onElection('following');
    if (deadline(waiter) < this.#alarmAt) this.#ringFor(waiter);
  }

  /** One that waits here stands for one more caller. */
  grow(waiter: Waiter): void {
    waiter.callers += 1;
    this.#callers += 1;
  }

  /** Answers everybody with a value: `first` is told `source`, the others that they joined. */
  answerAll(value: unknown, first: Waiter | undefined, source: Source): void {
    const now = this.#awaited.clock.now();
    for (let waiter = this.#first; waiter !== undefined; waiter = this.#first) {
      this.#answer(waiter, value, waiter === first ? source : 'local', 0, now);
    }
  }

  failAll(error: unknown): void {
    for (let waiter = this.#first; waiter !== undefined; waiter = this.#first) this.fail(waiter, error);
  }

  /** Lets all go without an answer, to wait elsewhere. */
  handOver(): readonly Waiter[] {
    const all = this.all();
    for (const waiter of all) this.#remove(waiter);
    return all;
  }

  /** Answers one waiter with a value; isolation that fails is that waiter's error. */
  answer(waiter: Waiter, value: unknown, source: Source, ageMs: number): void {
    this.#answer(waiter, value, source, ageMs, this.#awaited.clock.now());
  }

  fail(waiter: Waiter, error: unknown): void {
    if (!this.#remove(waiter)) return;
    waiter.reject(error);
    this.#awaited.onLeft(waiter, 'error', this.#waitedMs(waiter));
  }

  #answer(waiter: Waiter, shared: unknown, source: Source, ageMs: number, now: number): void {
    let value: unknown;
    try {
      value = isolated(shared, waiter.options.isolate);
    } catch (error) {
      this.fail(waiter, error);
      return;
    }
    if (!this.#remove(waiter)) return;
    const waitedMs = now - waiter.joinedAt;
    waiter.resolve(waiter.tellsHow ? { value, source, flightId: this.#awaited.id, ageMs, waitedMs } : value);
    this.#awaited.onLeft(waiter, source, waitedMs);
  }

  #remove(waiter: Waiter): boolean {
    if (waiter.line !== this) return false;
    waiter.line = undefined;
    waiter.unlisten?.();
    waiter.unlisten = undefined;
    if (waiter.ahead === undefined) this.#first = waiter.behind;
    else waiter.ahead.behind = waiter.behind;
    if (waiter.behind === undefined) this.#last = waiter.ahead;
    else waiter.behind.ahead = waiter.ahead;
    // Who is gone keeps nobody alive.
    waiter.ahead = undefined;
    waiter.behind = undefined;
    this.#size -= 1;
    this.#callers -= waiter.callers;
    if (this.#size === 0) this.#silence();
    return true;
  }

  #giveUp(waiter: Waiter, why: 'timeout' | 'aborted', reason: unknown): void {
    if (!this.#remove(waiter)) return;
    waiter.reject(reason);
    this.#awaited.onLeft(waiter, why, this.#waitedMs(waiter));
  }

  #waitedMs(waiter: Waiter): number {
    return this.#awaited.clock.now() - waiter.joinedAt;
  }

  #ringFor(waiter: Waiter): void {
    this.#silence();
    this.#alarmAt = deadline(waiter);
    this.#alarm = this.#awaited.deadlines.start(this, this.#alarmAt, waiter.options.timeoutMs);
  }

  onDeadline(): void {
    this.#silence();
    const now = this.#awaited.clock.now();
    for (const waiter of this.all()) {
      if (deadline(waiter) <= now) this.#giveUp(waiter, 'timeout', new WaitTimeoutError(waiter.options.timeoutMs, this.#awaited.id));
      else if (deadline(waiter) < this.#alarmAt) this.#ringFor(waiter);
    }
  }

  #silence(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
    this.#alarmAt = Number.POSITIVE_INFINITY;
  }
}

function deadline(waiter: Waiter): number {
  return waiter.joinedAt + waiter.options.timeoutMs;
}
