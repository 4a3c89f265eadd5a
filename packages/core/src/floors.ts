import type { KeyHash } from './coordinator.js';

/** Floors of the last keys are remembered, of this many at least and of twice as many at most; then only Redis knows them. */
const FLOORS_MIN = 10_000;

/**
 * The highest floor (token of the last invalidation) that this replica has seen per key. It goes with each claim, so a
 * server that forgot an acknowledged invalidation in a failover learns it again from any replica that saw it.
 */
export class Floors {
  /** Two generations, of which the older is forgotten as a whole: to drop the oldest entry of a Map takes a search each time. */
  #young = new Map<KeyHash, number>();
  #old = new Map<KeyHash, number>();

  get(key: KeyHash): number {
    return this.#young.get(key) ?? this.#old.get(key) ?? 0;
  }

  /** Remembers a floor if it is the highest so far. */
  raise(key: KeyHash, floor: number): void {
    if (floor <= this.get(key)) return;
    this.set(key, floor);
  }

  /** Remembers a floor in place of any other. */
  set(key: KeyHash, floor: number): void {
    this.#young.set(key, floor);
    if (this.#young.size < FLOORS_MIN) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}
