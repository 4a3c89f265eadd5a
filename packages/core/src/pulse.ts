import type { Clock, Timer } from './clock.js';

/** A wait for a coordinator that answers others meanwhile lasts at most this many times the silence that means trouble. */
const SILENCES_MAX = 8;

/**
 * Tells a coordinator that is busy from one that is silent. A reply is given up when nothing at all was heard for a
 * while; as long as other replies arrive, this one is only queued behind them, and to load without the coordinator would
 * turn contention into an outage. A process that was too busy to listen counts that time for nothing.
 */
export class Pulse {
  readonly #clock: Clock;
  #heardAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something arrived from the coordinator. */
  heard(): void {
    this.#heardAt = this.#clock.now();
  }

  /** Calls back once the coordinator has been silent for `silenceMs` from now on, or has put us off too often. */
  afterSilence(silenceMs: number, callback: () => void): Timer {
    const startedAt = this.#clock.now();
    let lateMs = 0;
    let timer: Timer;
    const ringIn = (delayMs: number): void => {
      const dueAt = this.#clock.now() + delayMs;
      timer = this.#clock.setTimer(() => {
        const now = this.#clock.now();
        // Rung late, this process was busy or paused: what arrived meanwhile is only read after this timer.
        const isLate = now - dueAt > silenceMs / 4;
        if (isLate) lateMs += now - dueAt;
        const silenceLeftMs = isLate ? silenceMs : Math.max(this.#heardAt, startedAt) + silenceMs - now;
        const leftMs = Math.min(silenceLeftMs, SILENCES_MAX * silenceMs - (now - startedAt - lateMs));
        if (leftMs > 0) ringIn(leftMs);
        else timer = this.#clock.setTimer(() => decide(now), 0);
      }, delayMs);
    };
    // One turn of the event loop later: between the two the process has read what was waiting in its sockets.
    const decide = (silentAt: number): void => {
      if (this.#heardAt >= silentAt && silentAt - startedAt - lateMs < SILENCES_MAX * silenceMs) ringIn(silenceMs);
      else callback();
    };
    ringIn(silenceMs);
    return { cancel: () => timer.cancel() };
  }
}
