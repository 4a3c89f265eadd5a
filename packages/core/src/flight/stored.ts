import type { Answers } from '../answers.js';
import { acceptsIfError, copyReadOf, limitedBy, onlyToRevalidate, widestCacheRead, type Kept } from '../caching.js';
import type { CacheRead, CopyRead, KeyHash } from '../coordinator.js';
import type { FlightHost } from '../flight-host.js';
import type { CanonicalKey } from '../key.js';
import type { StoredValue } from '../options.js';
import { peekRemotely, storedValue } from '../peek.js';
import type { Waiter, Waiters } from '../waiters.js';

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
  #stale: { readonly kept: Kept; readonly at: number } | undefined;
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

  /** What a copy has to be that answers in place of a claim. */
  get copyRead(): CopyRead | undefined {
    return this.#wasSeen ? undefined : copyReadOf(this.#waiters.all());
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
    this.serveStale(kept);
    return false;
  }

  /** Answers those who accept it. Returns whether nothing is left to do: nobody waits, and nobody asked to refresh it early. */
  answer(kept: Kept | undefined): boolean {
    this.#wasSeen = true;
    if (kept === undefined) return false;
    const { refresh } = this.#answers.giveStored(kept, () => this.#host.random());
    if (refresh === undefined) return this.#waiters.size === 0;
    this.#refresher = refresh;
    this.#stale = { kept, at: this.#host.clock.now() };
    return false;
  }

  /** This flight loads: meanwhile a stale value answers those who accept it, now and when they join. */
  serveStale(kept: Kept | undefined): void {
    if (kept === undefined) return;
    const first = this.#waiters.first();
    this.#stale = { kept, at: this.#host.clock.now() };
    this.#answers.giveStored(kept, () => 0);
    if (first !== undefined && !this.#waiters.has(first)) this.#refresher = first;
  }

  /** What a load of a newer one may find to hold still. */
  get previous(): StoredValue<unknown> | undefined {
    return storedValue(this.#now());
  }

  /** Somebody joins: answered at once if what is being refreshed does. */
  answerOne(waiter: Waiter): void {
    const stale = this.#now();
    if (stale !== undefined) this.#answers.giveStoredTo(waiter, stale);
  }

  /** Its load failed, with an error that is not shared: the next to load is one who waits. */
  refreshFailed(): void {
    this.#refresher = undefined;
  }

  /** The load failed: answers those who rather have the stale value. Returns whether the leader would. */
  answerIfError(leader: Waiter): boolean {
    const stale = this.#now();
    if (stale === undefined) return false;
    this.#answers.giveStaleIfError(stale);
    return acceptsIfError(leader, stale);
  }

  /**
   * The same where no stale value came with the election: on replicas that follow, and after a takeover. Each answers its
   * callers by their own options, so what travels is the error.
   */
  async lookIfError(key: KeyHash): Promise<void> {
    const { link } = this.#host;
    const first = this.#waiters.all().find(({ options }) => options.staleIfErrorMs > 0);
    if (first === undefined || link === undefined) return;
    const found = await peekRemotely(this.#host, link, key, first.options.codec);
    if (found === undefined) return;
    const { value, ageMs, lifetimes } = found;
    this.#answers.giveStaleIfError({ end: { how: 'value', value }, ageMs, loadMs: 0, lifetimes });
  }

  #now(): Kept | undefined {
    if (this.#stale === undefined) return undefined;
    const { kept, at } = this.#stale;
    return { ...kept, ageMs: kept.ageMs + this.#host.clock.now() - at };
  }
}
