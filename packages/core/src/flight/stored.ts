import type { Answers } from '../answers.js';
import { acceptsIfError, limitedBy, onlyToRevalidate, widestCacheRead, type Kept } from '../caching.js';
import type { CacheRead, Outcome } from '../coordinator.js';
import type { FlightHost } from '../flight-host.js';
import type { CanonicalKey } from '../key.js';
import type { StoredValue } from '../options.js';
import { storedValue } from '../peek.js';
import type { Waiter, Waiters } from '../waiters.js';

/** A value that is not fresh any more: here, and in the form in which it is stored, where a coordinator stores it. */
export interface Stale {
  readonly kept: Kept;
  readonly outcome: Outcome | undefined;
}

/**
 * What is stored of a flight's key, and what for: it answers those who accept its age; it answers, while this flight loads a
 * newer one, those who accept a stale one; and when that load fails, those who rather have it than the error.
 */
export class Stored {
  readonly #host: FlightHost;
  readonly #waiters: Waiters;
  readonly #answers: Answers;
  /** It was looked at and did not do for everybody: the next claim asks for a load. */
  #wasSeen = false;
  /** A value that is served while a newer one loads, and when its age was told. */
  #stale: (Stale & { readonly at: number }) | undefined;
  /** Whose loader runs although nobody waits: a refresh of what callers were answered with. */
  #refresher: Waiter | undefined;

  constructor(host: FlightHost, waiters: Waiters, answers: Answers) {
    this.#host = host;
    this.#waiters = waiters;
    this.#answers = answers;
  }

  get refresher(): Waiter | undefined {
    return this.#refresher;
  }

  /** What a claim may be answered with. */
  get cacheRead(): CacheRead | undefined {
    const read = widestCacheRead(this.#waiters.all());
    return this.#wasSeen ? onlyToRevalidate(read) : read;
  }

  /** Answers with what this process stored, where it has no coordinator. Returns whether nothing is left to do. */
  answerHere(key: CanonicalKey): boolean {
    const widest = this.cacheRead;
    if (widest === undefined) return false;
    const kept = this.#host.values.value(key);
    const read = limitedBy(kept?.lifetimes, widest);
    const error = this.#host.values.error(key);
    const failedLately = error !== undefined && error.ageMs < read.freshErrorMs;
    const answer =
      kept !== undefined && kept.ageMs < (failedLately ? read.staleMs : read.freshMs) ? kept : failedLately ? error : undefined;
    const isBetterThanError = kept !== undefined && kept.ageMs < read.staleIfErrorMs;
    if (answer !== undefined && !(answer === error && isBetterThanError) && this.answer(answer)) return true;
    this.serveStale(kept && { kept, outcome: undefined });
    return false;
  }

  /** Answers those who accept it. Returns whether nothing is left to do: nobody waits, and nobody asked to refresh it early. */
  answer(kept: Kept | undefined): boolean {
    this.#wasSeen = true;
    if (kept === undefined) return false;
    const { refresh } = this.#answers.giveStored(kept, () => this.#host.random());
    if (refresh === undefined) return this.#waiters.size === 0;
    this.#refresher = refresh;
    this.#stale = { kept, outcome: undefined, at: this.#host.clock.now() };
    return false;
  }

  /** This flight loads: meanwhile a stale value answers those who accept it, now and when they join. */
  serveStale(stale: Stale | undefined): void {
    if (stale === undefined) return;
    const first = this.#waiters.first();
    this.#stale = { ...stale, at: this.#host.clock.now() };
    this.#answers.giveStored(stale.kept, () => 0);
    if (first !== undefined && !this.#waiters.has(first)) this.#refresher = first;
  }

  /** What a load of a newer one may find to hold still. */
  get previous(): StoredValue<unknown> | undefined {
    return storedValue(this.#now());
  }

  /** Somebody joins: answered at once if what is being refreshed does. */
  answerOne(waiter: Waiter): void {
    const stale = this.#now();
    if (stale !== undefined && this.#refresher !== undefined) this.#answers.giveStoredTo(waiter, stale);
  }

  /** The load failed: answers those who rather have the stale value, and returns it where the leader would, too. */
  answerIfError(leader: Waiter): Outcome | undefined {
    const stale = this.#now();
    if (stale === undefined) return undefined;
    this.#answers.giveStaleIfError(stale);
    return acceptsIfError(leader, stale) ? this.#stale?.outcome : undefined;
  }

  #now(): Kept | undefined {
    if (this.#stale === undefined) return undefined;
    const { kept, at } = this.#stale;
    return { ...kept, ageMs: kept.ageMs + this.#host.clock.now() - at };
  }
}
