/**
 * Remembers keys whose answers turned out not to be shareable, so that their requests do not queue one behind the other
 * only to be let go. Bounded: a key that was not seen for long makes room, and none is remembered for longer than its time.
 */
export class HitForMiss {
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get size(): number {
    return this.#until.size;
  }

  has(key: string): boolean {
    const until = this.#until.get(key);
    if (until === undefined) return false;
    if (until > this.#now()) return true;
    this.#until.delete(key);
    return false;
  }

  remember(key: string): void {
    this.#until.delete(key); // the map is in order of insertion: this makes it the youngest
    this.#until.set(key, this.#now() + REMEMBER_MS);
    if (this.#until.size <= KEYS_MAX) return;
    const [oldest] = this.#until.keys();
    if (oldest !== undefined) this.#until.delete(oldest);
  }

  forget(key: string): void {
    this.#until.delete(key);
  }
}

export const KEYS_MAX = 10_000;
export const REMEMBER_MS = 120_000;
