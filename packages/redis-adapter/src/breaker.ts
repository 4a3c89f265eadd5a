import { type CircuitState, type Clock, CoordinatorError } from '@oneflight/core';
import type { ResolvedBreaker } from './breaker-options.js';
import { FailureWindow } from './failure-window.js';

/**
 * Refuses operations at once while Redis is away, so that no call waits for it, and finds out beside the calls when it is
 * back. One per session.
 *
 * An operation fails when it is `unavailable`, or when it is unanswered for `silenceMs` in which nothing was heard at all.
 * A reply is a reply, also one that refuses; while replies flow, late ones are contention and no outage; and a process that
 * was too busy to listen counts that time for nothing.
 */
export class Breaker {
  readonly #options: ResolvedBreaker;
  readonly #server: BreakerServer;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #failures: FailureWindow;
  readonly #listeners = new Set<(state: CircuitState) => void>();
  /** In the order in which they were sent. */
  readonly #unanswered = new Set<Sent>();
  #state: CircuitState = 'closed';
  #heardAt = Number.NEGATIVE_INFINITY;
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

  /**
   * Runs one operation: `ready` waits until it can be sent, `send` sends it.
   *
   * @throws CoordinatorError `unavailable` at once while the circuit is not closed; what the two reject with.
   */
  async run<T>(ready: () => Promise<void>, send: () => Promise<T>): Promise<T> {
    if (!this.#options.enabled) return await ready().then(send);
    this.refuseUnlessClosed();
    let sent: Sent | undefined;
    try {
      await ready();
      sent = this.#sending();
      const reply = await send();
      this.#answered(sent);
      return reply;
    } catch (error) {
      this.#ended(sent, error);
      throw error;
    }
  }

  /** @throws CoordinatorError `unavailable` while the circuit is not closed. */
  refuseUnlessClosed(): void {
    if (this.#options.enabled && this.#state !== 'closed') throw refusal();
  }

  /** An operation failed that did not get as far as `run`. */
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

  // ---- One operation --------------------------------------------------------------------------------------------------

  #sending(): Sent {
    const sent: Sent = { at: this.#clock.now(), isCounted: false };
    this.#unanswered.add(sent);
    if (!this.#isWatching) this.#watchFor(this.#server.silenceMs);
    return sent;
  }

  #answered(sent: Sent): void {
    this.#unanswered.delete(sent);
    this.#heardAt = this.#clock.now();
    if (this.#state !== 'closed') {
      this.probeSoon();
      return;
    }
    this.#failures.succeeded();
    this.#delayMs = this.#options.halfOpenAfterMs;
  }

  /** What timed out was counted by the watch, if it was silent; a broken connection shows in what is sent next. */
  #ended(sent: Sent | undefined, error: unknown): void {
    const reason = error instanceof CoordinatorError ? error.reason : undefined;
    if (sent !== undefined && (reason === 'refused' || reason === 'protocol')) {
      this.#answered(sent);
      return;
    }
    if (sent !== undefined) this.#unanswered.delete(sent);
    if (reason === 'unavailable' && sent?.isCounted !== true) this.failed();
  }

  // ---- Silence --------------------------------------------------------------------------------------------------------

  #watchFor(delayMs: number): void {
    this.#isWatching = true;
    const dueAt = this.#clock.now() + delayMs;
    this.#clock.setTimer(() => {
      this.#isWatching = false;
      // Rung late, this process was busy: what arrived meanwhile is only read after this timer.
      if (this.#clock.now() - dueAt > this.#server.silenceMs / 4) this.#heardAt = this.#clock.now();
      this.#listenForBytes();
      this.#countSilent();
    }, delayMs);
  }

  /** A long reply over a slow link is no silence. */
  #listenForBytes(): void {
    const bytesRead = this.#server.bytesRead();
    if (bytesRead !== this.#bytesRead) this.#heardAt = Math.max(this.#heardAt, this.#clock.now());
    this.#bytesRead = bytesRead;
  }

  #countSilent(): void {
    const now = this.#clock.now();
    for (const sent of this.#unanswered) {
      if (sent.isCounted) continue;
      const leftMs = Math.max(sent.at, this.#heardAt) + this.#server.silenceMs - now;
      if (leftMs > 0) {
        this.#watchFor(leftMs);
        return;
      }
      sent.isCounted = true;
      this.failed();
    }
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

interface Sent {
  readonly at: number;
  isCounted: boolean;
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

function refusal(): CoordinatorError {
  return new CoordinatorError(
    'unavailable',
    'the circuit to Redis is open: it did not answer several times in a row. Nothing was sent; it is tried again in the background',
  );
}
