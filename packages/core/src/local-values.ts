import type { Kept } from './caching.js';
import type { Clock } from './clock.js';
import type { CacheWrite, StoredLifetimes } from './coordinator.js';
import { dropOldest } from './drop-oldest.js';
import type { CanonicalKey } from './key.js';

interface Entry {
  readonly end: Kept['end'];
  readonly settledAt: number;
  readonly expiresAt: number;
  readonly loadMs: number;
  readonly lifetimes: StoredLifetimes | undefined;
  readonly tags: readonly string[];
}

/**
 * Stored outcomes of a collapser that has no coordinator: by reference, bounded in number, the least recently used go
 * first. A failed load leaves the last value where it is: it may be served stale.
 */
export class LocalValues {
  readonly #clock: Clock;
  readonly #entriesMax: number;
  readonly #values = new Map<CanonicalKey, Entry>();
  readonly #errors = new Map<CanonicalKey, Entry>();

  constructor(clock: Clock, entriesMax: number) {
    this.#clock = clock;
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#values.size + this.#errors.size;
  }

  value(key: CanonicalKey): Kept | undefined {
    return this.#read(this.#values, key);
  }

  error(key: CanonicalKey): Kept | undefined {
    return this.#read(this.#errors, key);
  }

  write(
    key: CanonicalKey,
    end: Kept['end'],
    { valueMs, errorMs, loadMs, lifetimes, ageMs = 0 }: CacheWrite,
    tags: readonly string[] = [],
  ): void {
    const lifeMs = end.how === 'value' ? valueMs : errorMs;
    if (lifeMs === 0) return;
    const table = end.how === 'value' ? this.#values : this.#errors;
    if (end.how === 'value') this.#errors.delete(key);
    const now = this.#clock.now();
    table.delete(key);
    const own = end.how === 'value' ? { settledAt: now - ageMs, lifetimes } : { settledAt: now, lifetimes: undefined };
    table.set(key, { ...own, end, expiresAt: now + lifeMs, loadMs, tags });
    if (table.size > this.#entriesMax) dropOldest(table);
  }

  delete(key: CanonicalKey): void {
    this.#values.delete(key);
    this.#errors.delete(key);
  }

  /** Looks at all of them: there are at most `valuesMax`, and an index would cost each write. */
  deleteTagged(tag: string): void {
    for (const table of [this.#values, this.#errors]) {
      for (const [key, { tags }] of table) if (tags.includes(tag)) table.delete(key);
    }
  }

  #read(table: Map<CanonicalKey, Entry>, key: CanonicalKey): Kept | undefined {
    const entry = table.get(key);
    if (entry === undefined) return undefined;
    table.delete(key);
    const now = this.#clock.now();
    if (entry.expiresAt <= now) return undefined;
    table.set(key, entry);
    return { end: entry.end, ageMs: now - entry.settledAt, loadMs: entry.loadMs, lifetimes: entry.lifetimes };
  }
}
