import { dropOldest } from './drop-oldest.js';

/** Owed invalidations are remembered for this many keys, or tags; the oldest are forgotten first. */
const OWED_MAX = 10_000;

/** Keys, or tags, whose invalidation the coordinator has not acknowledged; bounded. */
export class Owed {
  readonly #keys = new Set<string>();

  get size(): number {
    return this.#keys.size;
  }

  [Symbol.iterator](): Iterator<string> {
    return this.#keys.values();
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  add(key: string): void {
    this.#keys.delete(key);
    this.#keys.add(key);
    if (this.#keys.size > OWED_MAX) dropOldest(this.#keys);
  }

  remove(key: string): void {
    this.#keys.delete(key);
  }
}
