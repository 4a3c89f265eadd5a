import type { KeyHash } from './coordinator.js';
import { dropOldest } from './drop-oldest.js';

/** Owed invalidations are remembered for this many keys; the oldest are forgotten first. */
const OWED_MAX = 10_000;

/** Keys whose invalidation the coordinator has not acknowledged; bounded. */
export class Owed {
  readonly #keys = new Set<KeyHash>();

  has(key: KeyHash): boolean {
    return this.#keys.has(key);
  }

  add(key: KeyHash): void {
    this.#keys.delete(key);
    this.#keys.add(key);
    if (this.#keys.size > OWED_MAX) dropOldest(this.#keys);
  }

  remove(key: KeyHash): void {
    this.#keys.delete(key);
  }
}
