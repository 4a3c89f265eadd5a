import type { KeyHash } from './coordinator.js';
import { dropOldest } from './drop-oldest.js';

/** Floors are remembered for this many keys; the oldest go first, and then only Redis knows theirs. */
const FLOORS_MAX = 10_000;

/**
 * The highest floor (token of the last invalidation) that this replica has seen per key. It goes with each claim, so a
 * server that forgot an acknowledged invalidation in a failover learns it again from any replica that saw it.
 */
export class Floors {
  readonly #floors = new Map<KeyHash, number>();

  get(key: KeyHash): number {
    return this.#floors.get(key) ?? 0;
  }

  /** Remembers a floor if it is the highest so far. */
  raise(key: KeyHash, floor: number): void {
    if (floor <= this.get(key)) return;
    this.set(key, floor);
  }

  /** Remembers a floor in place of any other. */
  set(key: KeyHash, floor: number): void {
    this.#floors.delete(key);
    this.#floors.set(key, floor);
    if (this.#floors.size > FLOORS_MAX) dropOldest(this.#floors);
  }
}
