import type { Clock, Timer } from './clock.js';

/** Rechecks that are due up to this long before or after the first that was planned are made together with it. */
const TOGETHER_MS = 20;

/**
 * When the keys of one call look again for what other replicas load: together, so that their claims share a write, and keys
 * whose leader is gone are taken over at the same moment and loaded by one batch. Keys that one leader led lose their
 * leases milliseconds apart; each waits up to 40 ms longer than it would alone.
 */
export class Rechecks {
  /** In place of chance, one for all keys of the call: from 0 to 1. */
  readonly jitter: number;
  readonly #clock: Clock;
  readonly #rounds = new Set<Round>();

  constructor(clock: Clock, jitter: number) {
    this.#clock = clock;
    this.jitter = jitter;
  }

  /** Calls `callback` once, with those of the others that are due at about the same time. */
  setTimer(callback: () => void, delayMs: number): Timer {
    const dueAt = this.#clock.now() + delayMs;
    let round = [...this.#rounds].find(({ at }) => dueAt <= at && dueAt >= at - 2 * TOGETHER_MS);
    if (round === undefined) {
      round = new Round(this.#clock, dueAt + TOGETHER_MS, (over) => this.#rounds.delete(over));
      this.#rounds.add(round);
    }
    return round.add(callback);
  }
}

class Round {
  readonly at: number;
  readonly #callbacks = new Set<{ readonly callback: () => void }>();
  readonly #timer: Timer;
  readonly #onOver: (round: Round) => void;

  constructor(clock: Clock, at: number, onOver: (round: Round) => void) {
    this.at = at;
    this.#onOver = onOver;
    this.#timer = clock.setTimer(() => this.#ring(), at - clock.now());
  }

  add(callback: () => void): Timer {
    const entry = { callback };
    this.#callbacks.add(entry);
    return {
      cancel: () => {
        if (!this.#callbacks.delete(entry) || this.#callbacks.size > 0) return;
        this.#timer.cancel();
        this.#onOver(this);
      },
    };
  }

  #ring(): void {
    this.#onOver(this);
    const due = [...this.#callbacks];
    this.#callbacks.clear();
    for (const { callback } of due) callback();
  }
}
