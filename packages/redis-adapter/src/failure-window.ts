import type { Clock } from '@oneflight/core';
import type { ResolvedBreaker } from './breaker-options.js';

/** Counts how operations end, and says when too many have failed: in a row, or of those of the last while. */
export class FailureWindow {
  readonly #options: Pick<ResolvedBreaker, 'failuresMax' | 'windowMs' | 'ratioMax'>;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #slots: Slot[] = [];
  #inARow = 0;

  constructor(options: Pick<ResolvedBreaker, 'failuresMax' | 'windowMs' | 'ratioMax'>, clock: Pick<Clock, 'now'>) {
    this.#options = options;
    this.#clock = clock;
  }

  succeeded(): void {
    this.#inARow = 0;
    this.#slot().operations += 1;
  }

  /** Returns whether that was one too many. */
  failed(): boolean {
    this.#inARow += 1;
    const slot = this.#slot();
    slot.operations += 1;
    slot.failures += 1;
    if (this.#inARow >= this.#options.failuresMax) return true;
    let [operations, failures] = [0, 0];
    for (const each of this.#slots) {
      operations += each.operations;
      failures += each.failures;
    }
    return operations >= OPERATIONS_MIN && failures >= operations * this.#options.ratioMax;
  }

  forget(): void {
    this.#inARow = 0;
    this.#slots.length = 0;
  }

  /** The current one, after those that are too old were dropped. */
  #slot(): Slot {
    const index = Math.floor((this.#clock.now() / this.#options.windowMs) * SLOTS);
    const last = this.#slots.at(-1);
    if (last?.index === index) return last;
    while ((this.#slots[0]?.index ?? index) <= index - SLOTS) this.#slots.shift();
    const slot = { index, operations: 0, failures: 0 };
    this.#slots.push(slot);
    return slot;
  }
}

interface Slot {
  readonly index: number;
  operations: number;
  failures: number;
}

const SLOTS = 10;
/** Fewer say nothing about a ratio. */
const OPERATIONS_MIN = 20;
