import type { KeyHash, TagHash } from '../coordinator.js';
import { ExpiringMap } from './expiring-map.js';

/**
 * The tag index as an executable specification: what the tag scripts in Redis do, one call for one script. It lives apart
 * from the store of the keys, because no script can touch a tag and a key that carries it.
 */
export class MemoryTags {
  readonly #rules: TagRules;
  readonly #clock: ExpiringMap<number>;
  readonly #invalidated: ExpiringMap<number>;
  readonly #members: ExpiringMap<Members>;
  readonly #batches: ExpiringMap<ReadonlyMap<string, Members>>;
  #made = 0;

  constructor(rules: TagRules) {
    this.#rules = rules;
    this.#clock = new ExpiringMap(rules.nowMs);
    this.#invalidated = new ExpiringMap(rules.nowMs);
    this.#members = new ExpiringMap(rules.nowMs);
    this.#batches = new ExpiringMap(rules.nowMs);
  }

  time(namespace: string): number {
    return this.#clock.get(namespace) ?? 0;
  }

  advance(namespace: string): number {
    const token = Math.max(this.#rules.nowUs(), this.time(namespace) + 1);
    this.#clock.set(namespace, token, this.#rules.floorMs);
    return token;
  }

  attach(tag: TagHash, key: KeyHash, livesMs: number): number {
    if (livesMs > 0) {
      const members = living(this.#members.get(tag), this.#rules.nowMs());
      members.set(key, Math.max(members.get(key) ?? 0, this.#rules.nowMs() + livesMs));
      this.#members.keep(tag, members, livesMs);
    }
    return this.#invalidated.get(tag) ?? 0;
  }

  detach(tag: TagHash, token: number): string[] {
    this.#invalidated.set(tag, Math.max(this.#invalidated.get(tag) ?? 0, token), this.#rules.floorMs);
    const batches = new Map(this.#batches.get(tag));
    const members = this.#members.get(tag);
    if (members !== undefined) {
      const livesMs = this.#members.leftMs(tag);
      this.#members.delete(tag);
      // A name of its own each time: an invalidation that is executed twice must not lose the first batch.
      batches.set(`${++this.#made}`, members);
      this.#batches.keep(tag, batches, livesMs);
    }
    return [...batches.keys()];
  }

  take(tag: TagHash, batch: string, done: readonly KeyHash[]): KeyHash[] {
    const batches = new Map(this.#batches.get(tag));
    const members = living(batches.get(batch), this.#rules.nowMs());
    for (const key of done) members.delete(key);
    if (members.size === 0) batches.delete(batch);
    else batches.set(batch, members);
    if (batches.size === 0) this.#batches.delete(tag);
    else this.#batches.set(tag, batches, this.#batches.leftMs(tag));
    return [...members.keys()].slice(0, TAKEN_MAX);
  }

  /** Every table, for what is done to all of the server. */
  get tables(): Readonly<Record<string, ExpiringMap<unknown>>> {
    return { C: this.#clock, I: this.#invalidated, K: this.#members, G: this.#batches };
  }
}

/** What the index runs on. */
export interface TagRules {
  readonly nowMs: () => number;
  /** The server's own time in microseconds. */
  readonly nowUs: () => number;
  /** How long an invalidation is remembered: longer than any load may run. */
  readonly floorMs: number;
}

/** Small, so that a test meets more than one. */
const TAKEN_MAX = 4;

/** Keys, and until when each is noted. */
type Members = Map<KeyHash, number>;

function living(members: Members | undefined, nowMs: number): Members {
  return new Map([...(members ?? [])].filter(([, expiresAt]) => expiresAt > nowMs));
}
