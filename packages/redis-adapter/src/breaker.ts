import { type CircuitState, type Clock, CoordinatorError, type CoordinatorFailure } from '@oneflight/core';
import type { ResolvedBreaker } from './breaker-options.js';
import { FailureWindow } from './failure-window.js';

/**
 * Refuses operations at once while Redis is away, so that no call waits for it, and finds out beside the calls when it is
 * back. One per server.
 *
 * An operation that is `unavailable` is a failure, and so is each `silenceMs` in which replies are due and nothing at all is
 * heard: one, however many wait in it. A reply is a reply, also one that refuses; while replies flow, late ones are
 * contention and no outage; and a process that was too busy to listen counts that time for nothing.
 */
export class Breaker {
  readonly #options: ResolvedBreaker;
  readonly #server: BreakerServer;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #failures: FailureWindow;
  readonly #listeners = new Set<(state: CircuitState) => void>();
  #state: CircuitState = 'closed';
  /** How many operations were sent and have not ended. */
  #due = 0;
  /** Since when nothing was heard, while some are due; each silence that was counted begins the next one. */
  #silentSince = 0;
  #bytesRead = 0;
  #isWatching = false;
  #probeTimer: { cancel(): void } | undefined;
  /** Grows with each probe that fails, and only shrinks when an operation succeeds: a server may answer a PING and nothing else. */
  #delayMs: number;
  #isShut = false;

  constructor(options: ResolvedBreaker, server: BreakerServer, clock: Clock = unrefClock, random: () => number = Math.random) {
    this.#options = options;
    this.#server = server;
    this.#clock = clock;
    this.#random = random;
    this.#failures = new FailureWindow(options, clock);
    this.#delayMs = options.halfOpenAfterMs;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** Why nothing may be sent now; undefined while the circuit is closed. */
  refusal(): CoordinatorError | undefined {
    if (!this.#options.enabled || this.#state === 'closed') return undefined;
    return new CoordinatorError('unavailable', REFUSED);
  }

  /** An operation was sent: `answered` or `ended` has to follow. */
  sent(): void {
    if (!this.#options.enabled) return;
    if (this.#due === 0) this.#heard();
    this.#due += 1;
    if (!this.#isWatching) this.#watchFor(this.#server.silenceMs);
  }

  /** There was a reply to it, whatever it says. */
  answered(): void {
    if (!this.#options.enabled) return;
    this.#due -= 1;
    this.#heard();
    if (this.#state !== 'closed') {
      this.probeSoon();
      return;
    }
    this.#failures.succeeded();
    this.#delayMs = this.#options.halfOpenAfterMs;
  }

  /** It ended otherwise. What timed out was silence, which is counted by itself; a broken connection shows in what is sent next. */
  ended(reason: CoordinatorFailure): void {
    if (reason === 'refused' || reason === 'protocol') {
      this.answered();
      return;
    }
    if (this.#options.enabled) this.#due -= 1;
    if (reason === 'unavailable') this.failed();
  }

  /** An operation failed that could not be sent. */
  failed(): void {
    if (this.#options.enabled && this.#state === 'closed' && this.#failures.failed()) this.#open();
  }

  /** Redis may be back: looks now instead of later. */
  probeSoon(): void {
    if (this.#state !== 'open') return;
    this.#probeTimer?.cancel();
    void this.#probe();
  }

  /** Tells of a state that is not closed now, and of each change, until the function that it returns is called. */
  listen(listener: (state: CircuitState) => void): () => void {
    this.#listeners.add(listener);
    if (this.#state !== 'closed') listener(this.#state);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Ends the search for a server that is away. */
  close(): void {
    this.#isShut = true;
    this.#probeTimer?.cancel();
  }

  // ---- Silence --------------------------------------------------------------------------------------------------------

  #watchFor(delayMs: number): void {
    this.#isWatching = true;
    const dueAt = this.#clock.now() + delayMs;
    this.#clock.setTimer(() => {
      this.#isWatching = false;
      // Rung late, this process was busy: what arrived meanwhile is only read after this timer.
      const isLate = this.#clock.now() - dueAt > this.#server.silenceMs / 4;
      // A long reply over a slow link is no silence.
      if (isLate || this.#server.bytesRead() !== this.#bytesRead) this.#heard();
      this.#countSilence();
    }, delayMs);
  }

  #heard(): void {
    this.#silentSince = this.#clock.now();
    this.#bytesRead = this.#server.bytesRead();
  }

  #countSilence(): void {
    if (this.#due === 0) return;
    const now = this.#clock.now();
    if (now - this.#silentSince >= this.#server.silenceMs) {
      this.#silentSince += this.#server.silenceMs;
      this.failed();
    }
    this.#watchFor(this.#silentSince + this.#server.silenceMs - now);
  }

  // ---- The circuit ----------------------------------------------------------------------------------------------------

  #open(): void {
    this.#enter('open');
    this.#probeLater();
  }

  #probeLater(): void {
    if (this.#isShut) return;
    const jitter = 1 + (2 * this.#random() - 1) * JITTER;
    this.#probeTimer = this.#clock.setTimer(() => void this.#probe(), this.#delayMs * jitter);
  }

  async #probe(): Promise<void> {
    this.#enter('half_open');
    if (await this.#isBack()) {
      this.#failures.forget();
      this.#enter('closed');
      return;
    }
    this.#delayMs = Math.min(2 * this.#delayMs, this.#options.halfOpenMaxMs);
    this.#open();
  }

  /** One PING that no call waits for. */
  #isBack(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(() => resolve(false), this.#server.silenceMs);
      const end = (isBack: boolean): void => {
        timer.cancel();
        resolve(isBack);
      };
      this.#server.ping().then(
        () => {
          end(true);
          // Later than it was waited for: it is back all the same.
          this.probeSoon();
        },
        () => end(false),
      );
    });
  }

  #enter(state: CircuitState): void {
    if (this.#isShut) return;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

/** What a breaker watches. */
export interface BreakerServer {
  /** How long it may be silent while a reply is due. */
  readonly silenceMs: number;
  /** Resolves when it answers; rejects when it is known to be away. */
  ping(): Promise<unknown>;
  /** How many bytes came from it so far: any number that changes when some come. */
  bytesRead(): number;
}

/** How much of a delay is left to chance, so that replicas do not come back together. */
const JITTER = 0.2;

/** A breaker holds no process. */
const unrefClock: Clock = {
  now: () => performance.now(),
  setTimer(callback, delayMs) {
    const handle = setTimeout(callback, delayMs).unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

const REFUSED =
  'the circuit to Redis is open: it did not answer several times in a row. Nothing was sent; it is tried again in the background';
