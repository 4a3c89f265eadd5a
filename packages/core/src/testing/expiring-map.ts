/** A map whose every entry has an expiry, as every key of the protocol must have one. */
export class ExpiringMap<T> {
  readonly #nowMs: () => number;
  #entries = new Map<string, Entry<T>>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get(key: string): T | undefined {
    return this.#live(key)?.value;
  }

  /** How long the entry still lives; 0 when there is none. */
  leftMs(key: string): number {
    const entry = this.#live(key);
    return entry === undefined ? 0 : entry.expiresAtMs - this.#nowMs();
  }

  /** Sets the entry to live exactly `ttlMs` from now. */
  set(key: string, value: T, ttlMs: number): void {
    this.#entries.set(key, { value, expiresAtMs: this.#nowMs() + ttlMs });
  }

  /** Sets the entry to live `ttlMs` from now, or longer if it already did. */
  keep(key: string, value: T, ttlMs: number): void {
    this.set(key, value, Math.max(ttlMs, this.leftMs(key)));
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  /** The keys that live now. */
  keys(): string[] {
    return [...this.#entries.keys()].filter((key) => this.#live(key) !== undefined);
  }

  /** Remembers everything; the function that it returns goes back to it. What expired since then stays expired. */
  checkpoint(): () => void {
    const copy = structuredClone(this.#entries);
    return () => {
      this.#entries = structuredClone(copy);
    };
  }

  #live(key: string): Entry<T> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.expiresAtMs > this.#nowMs()) return entry;
    this.#entries.delete(key);
    return undefined;
  }
}

/** A value and when it ends. */
interface Entry<T> {
  readonly value: T;
  readonly expiresAtMs: number;
}
