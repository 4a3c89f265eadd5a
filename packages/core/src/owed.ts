import { dropOldest } from './drop-oldest.js';

/** Owed invalidations are remembered for this many keys, or tags; the oldest are forgotten first. */
const OWED_MAX = 10_000;

/** Keys, or tags, whose invalidation the coordinator has not acknowledged; bounded. */
export class Owed {
  /** With the number of the debt: one that was made while another was being paid is still owed. */
  readonly #debts = new Map<string, number>();
  #count = 0;

  get size(): number {
    return this.#debts.size;
  }

  [Symbol.iterator](): Iterator<string> {
    return this.#debts.keys();
  }

  has(key: string): boolean {
    return this.#debts.has(key);
  }

  /** The debt of a key as it is now, to be handed to `remove` once what was sent after this is acknowledged. */
  debtOf(key: string): number | undefined {
    return this.#debts.get(key);
  }

  add(key: string): void {
    this.#debts.delete(key);
    this.#debts.set(key, ++this.#count);
    if (this.#debts.size > OWED_MAX) dropOldest(this.#debts);
  }

  remove(key: string, debt: number | undefined): void {
    if (debt !== undefined && this.#debts.get(key) === debt) this.#debts.delete(key);
  }
}
