import type { CacheWrite, KeyHash, Outcome, StoredLifetimes, StoredOutcome } from '../coordinator.js';
import { ExpiringMap } from './expiring-map.js';

/** What is stored of a key and allowed by its floor: a value, and an error of a later load. */
export interface FoundEntries {
  readonly value: StoredOutcome | undefined;
  readonly error: StoredOutcome | undefined;
}

/**
 * The outcomes that were stored on request (values V, errors E), as an executable specification of that part of the scripts.
 * They lie beside the election: it says what the floor of a key is, and when an outcome may be stored.
 */
export class MemoryValues {
  readonly #nowMs: () => number;
  readonly #values: ExpiringMap<KeptEntry>;
  readonly #errors: ExpiringMap<KeptEntry>;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#values = new ExpiringMap(nowMs);
    this.#errors = new ExpiringMap(nowMs);
  }

  get tables(): Readonly<Record<'V' | 'E', ExpiringMap<unknown>>> {
    return { V: this.#values, E: this.#errors };
  }

  /** What is stored with a token above the floor and not below `min`; what is from before an invalidation is removed. */
  find(key: KeyHash, min: number, floor: number): FoundEntries {
    return { value: this.#find(this.#values, key, min, floor), error: this.#find(this.#errors, key, min, floor) };
  }

  /** The value with a token above the floor, of whatever age; nothing is changed. */
  peek(key: KeyHash, floor: number): StoredOutcome | undefined {
    const entry = this.#values.get(key);
    return entry === undefined || entry.token <= floor ? undefined : this.#told(entry);
  }

  /** Stores a settled outcome. A failed load leaves the last value where it is: it may be served stale. */
  keep(key: KeyHash, token: number, outcome: Outcome, cache: CacheWrite): void {
    const { loadMs, ageMs = 0, lifetimes } = cache;
    const settledAtMs = Math.floor(this.#nowMs());
    const isValue = outcome.kind === 'value';
    const entry = {
      token,
      outcome,
      settledAtMs: isValue ? settledAtMs - ageMs : settledAtMs,
      loadMs,
      ...(isValue && lifetimes && { lifetimes }),
    };
    const lifeMs = storedMs(outcome, cache);
    if (lifeMs === 0) return;
    if (isValue) this.#errors.delete(key);
    (isValue ? this.#values : this.#errors).set(key, entry, lifeMs);
  }

  delete(key: KeyHash): void {
    this.#values.delete(key);
    this.#errors.delete(key);
  }

  #find(table: ExpiringMap<KeptEntry>, key: KeyHash, min: number, floor: number): StoredOutcome | undefined {
    const entry = table.get(key);
    if (entry === undefined) return undefined;
    if (entry.token <= floor) {
      table.delete(key);
      return undefined;
    }
    return entry.token < min ? undefined : this.#told(entry);
  }

  #told(entry: KeptEntry): StoredOutcome {
    return {
      outcome: entry.outcome,
      fencingToken: entry.token,
      ageMs: Math.floor(this.#nowMs()) - entry.settledAtMs,
      loadMs: entry.loadMs,
      ...(entry.lifetimes && { lifetimes: entry.lifetimes }),
    };
  }
}

/** How long an outcome is stored; 0 for not at all. */
export function storedMs(outcome: Outcome, { valueMs, errorMs }: CacheWrite): number {
  if (outcome.kind === 'unshareable') return 0;
  return outcome.kind === 'value' ? valueMs : errorMs;
}

/** In the scripts: t, o, at, d, and l for a value. */
interface KeptEntry {
  readonly token: number;
  readonly outcome: Outcome;
  readonly settledAtMs: number;
  readonly loadMs: number;
  readonly lifetimes?: StoredLifetimes;
}
