import type { CopyRead, CopyStats, KeyHash, StoredOutcome } from '@oneflight/core';
import { LRUCache } from 'lru-cache';
import type { NearOptions } from './near-options.js';

/**
 * Copies of stored values in this process: a read that one of them answers costs no command. A copy changes nothing about
 * a value: its age is told as Redis would tell it, and where it does not do Redis is asked, so that the whole cluster
 * elects one to refresh it. It is dropped by the message that its key was invalidated; all are, when messages may be lost.
 */
export class NearValues {
  readonly #maxAgeMs: number;
  readonly #copies: LRUCache<KeyHash, Copy>;
  /** Keys that are being read from Redis, and the highest floor heard of each meanwhile: a reply may come after the news. */
  readonly #reading = new Map<KeyHash, Reading>();
  /** Counts losses of messages: what was asked for before one may not be kept after it. */
  #epoch = 0;
  readonly #bytesMax: number;
  readonly #done = { hits: 0, misses: 0, outdated: 0, evicted: 0, invalidated: 0, cleared: 0 };

  constructor({ bytesMax, maxAgeMs }: Required<NearOptions>) {
    this.#maxAgeMs = maxAgeMs;
    this.#bytesMax = bytesMax;
    this.#copies = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: ({ bytes }) => bytes.byteLength + OVERHEAD_BYTES,
      disposeAfter: (_copy, _key, reason) => {
        if (reason === 'evict') this.#done.evicted += 1;
      },
    });
  }

  stats(): CopyStats {
    return { ...this.#done, entries: this.#copies.size, bytes: this.#copies.calculatedSize, bytesMax: this.#bytesMax };
  }

  /** A copy that is as fresh as every caller asks; undefined where Redis has to be asked. */
  read(key: KeyHash, floor: number, wanted: CopyRead): StoredOutcome | undefined {
    const copy = this.#copies.get(key);
    if (copy === undefined) {
      this.#done.misses += 1;
      return undefined;
    }
    const found = this.#use(key, copy, floor, wanted);
    if (found === undefined) this.#done.outdated += 1;
    else this.#done.hits += 1;
    return found;
  }

  #use(key: KeyHash, copy: Copy, floor: number, { freshMs, refreshesEarly }: CopyRead): StoredOutcome | undefined {
    const heldMs = performance.now() - copy.readAt;
    if (heldMs >= this.#maxAgeMs || copy.fencingToken <= floor) {
      this.#copies.delete(key);
      return undefined;
    }
    const { bytes, fencingToken, loadMs, lifetimes } = copy;
    const ageMs = copy.ageMs + Math.ceil(heldMs);
    const endsAtMs = Math.min(freshMs, lifetimes?.ttlMs ?? freshMs);
    // Near its end Redis is asked: another replica may have refreshed it, and then nobody has to.
    if (ageMs + (refreshesEarly ? EARLY_LOADS * loadMs : 0) >= endsAtMs) return undefined;
    // Each reader gets bytes of its own: what is decoded from them may be a view of them, and mutated.
    return { outcome: { kind: 'value', bytes: Uint8Array.from(bytes) }, fencingToken, ageMs, loadMs, ...(lifetimes && { lifetimes }) };
  }

  /** Notes that a key is being asked for. The function that it returns keeps what was found, if it may still be kept. */
  reading(key: KeyHash): (found: StoredOutcome | undefined) => void {
    const readAt = performance.now();
    const epoch = this.#epoch;
    const reading = this.#reading.get(key) ?? { users: 0, floor: 0 };
    reading.users += 1;
    this.#reading.set(key, reading);
    return (found) => {
      reading.users -= 1;
      if (reading.users === 0) this.#reading.delete(key);
      if (found?.outcome.kind !== 'value' || epoch !== this.#epoch || found.fencingToken <= reading.floor) return;
      const { outcome, ...entry } = found;
      this.#copies.set(key, { ...entry, bytes: Uint8Array.from(outcome.bytes), readAt });
      if (!this.#copies.has(key)) this.#done.evicted += 1; // larger than all the room there is
    };
  }

  /** The key was invalidated; an infinite floor where it is not known with which token. */
  invalidated(key: KeyHash, floor: number): void {
    const reading = this.#reading.get(key);
    if (reading !== undefined) reading.floor = Math.max(reading.floor, floor);
    const copy = this.#copies.peek(key);
    if (copy === undefined || copy.fencingToken > floor) return;
    this.#copies.delete(key);
    this.#done.invalidated += 1;
  }

  /** Messages may be lost from here on. */
  clear(): void {
    this.#epoch += 1;
    this.#done.cleared += this.#copies.size;
    this.#copies.clear();
  }
}

/** What a copy takes besides its bytes, about. */
const OVERHEAD_BYTES = 300;
/** In one of 20,000 reads chance asks for a refresh that is this many load times before the end (XFetch): so much is left to chance. */
const EARLY_LOADS = 10;

interface Copy extends Omit<StoredOutcome, 'outcome'> {
  readonly bytes: Uint8Array;
  /** When Redis was asked for it: its age counts from before the answer, never from after. */
  readonly readAt: number;
}

interface Reading {
  users: number;
  floor: number;
}
