import { onAbort } from './abort-listeners.js';
import type { Clock, Timer } from './clock.js';
import type { FlightId } from './coordinator.js';
import { WaitTimeoutError } from './errors.js';
import { isolated } from './isolate.js';
import type { Key } from './key.js';
import type { CallOptions, Loader } from './options.js';

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

/** One caller waiting for a flight. */
export interface Waiter {
  readonly key: Key;
  readonly loader: Loader<unknown>;
  readonly options: CallOptions;
  readonly joinedAt: number;
  /** Settles the caller's promise with a value and how it came, or an error. */
  readonly resolve: (result: FlightResult<unknown>) => void;
  readonly reject: (error: unknown) => void;
  readonly onElection?: OnElection | undefined;
}

/** How a call ended: its value's source, or how it failed. */
export type CallOutcome = Source | 'error' | 'timeout' | 'aborted';

/** Told when a waiter is no longer there, however it left. */
export type OnLeft = (waiter: Waiter, outcome: CallOutcome, waitedMs: number) => void;

/** Those who wait for one flight. Each leaves by itself, by its own deadline or signal, and touches nobody else. */
export class Waiters {
  readonly #flightId: FlightId;
  readonly #clock: Clock;
  readonly #onLeft: OnLeft;
  /** In order of arrival; the value undoes the listening to the waiter's signal. */
  readonly #present = new Map<Waiter, () => void>();
  /** One timer for all: it rings at the earliest deadline. */
  #alarm: { readonly at: number; readonly timer: Timer } | undefined;

  constructor(flightId: FlightId, clock: Clock, onLeft: OnLeft) {
    this.#flightId = flightId;
    this.#clock = clock;
    this.#onLeft = onLeft;
  }

  get size(): number {
    return this.#present.size;
  }

  has(waiter: Waiter): boolean {
    return this.#present.has(waiter);
  }

  /** Who has waited longest. */
  first(): Waiter | undefined {
    for (const waiter of this.#present.keys()) return waiter;
    return undefined;
  }

  all(): readonly Waiter[] {
    return [...this.#present.keys()];
  }

  add(waiter: Waiter): void {
    this.#present.set(waiter, this.#listenTo(waiter));
    if (this.#present.size > 1) waiter.onElection?.('following');
    this.#ringAt(deadline(waiter));
  }

  /** Lets all go without an answer, to wait elsewhere. */
  handOver(): readonly Waiter[] {
    const all = this.all();
    for (const waiter of all) this.#remove(waiter);
    return all;
  }

  /** Answers one waiter with a value; isolation that fails is that waiter's error. */
  answer(waiter: Waiter, result: Omit<FlightResult<unknown>, 'waitedMs'>): void {
    let value: unknown;
    try {
      value = isolated(result.value, waiter.options.isolate);
    } catch (error) {
      this.fail(waiter, error);
      return;
    }
    if (!this.#remove(waiter)) return;
    const waitedMs = this.#waitedMs(waiter);
    waiter.resolve({ ...result, value, waitedMs });
    this.#onLeft(waiter, result.source, waitedMs);
  }

  fail(waiter: Waiter, error: unknown): void {
    if (!this.#remove(waiter)) return;
    waiter.reject(error);
    this.#onLeft(waiter, 'error', this.#waitedMs(waiter));
  }

  #remove(waiter: Waiter): boolean {
    const unlisten = this.#present.get(waiter);
    if (unlisten === undefined) return false;
    unlisten();
    this.#present.delete(waiter);
    if (this.#present.size === 0) this.#silence();
    return true;
  }

  #giveUp(waiter: Waiter, why: 'timeout' | 'aborted', reason: unknown): void {
    if (!this.#remove(waiter)) return;
    waiter.reject(reason);
    this.#onLeft(waiter, why, this.#waitedMs(waiter));
  }

  #waitedMs(waiter: Waiter): number {
    return this.#clock.now() - waiter.joinedAt;
  }

  #listenTo(waiter: Waiter): () => void {
    const { signal } = waiter.options;
    if (signal === undefined) return noop;
    return onAbort(signal, () => this.#giveUp(waiter, 'aborted', signal.reason));
  }

  #ringAt(at: number): void {
    if (at === Number.POSITIVE_INFINITY || (this.#alarm !== undefined && this.#alarm.at <= at)) return;
    this.#silence();
    this.#alarm = { at, timer: this.#clock.setTimer(() => this.#ring(), Math.max(0, at - this.#clock.now())) };
  }

  #ring(): void {
    this.#alarm = undefined;
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const waiter of this.all()) {
      const at = deadline(waiter);
      if (at > now) next = Math.min(next, at);
      else this.#giveUp(waiter, 'timeout', new WaitTimeoutError(waiter.options.timeoutMs, this.#flightId));
    }
    if (this.#present.size > 0) this.#ringAt(next);
  }

  #silence(): void {
    this.#alarm?.timer.cancel();
    this.#alarm = undefined;
  }
}

function deadline(waiter: Waiter): number {
  return waiter.joinedAt + waiter.options.timeoutMs;
}

function noop(): void {}
