import { acceptsIfError, refreshesEarly, verdict, type Kept } from './caching.js';
import type { LoadEnd } from './load.js';
import type { Source, Waiter, Waiters } from './waiters.js';

/** Gives one flight's waiters what they wait for, and each the name of how it came by it. */
export class Answers {
  readonly #waiters: Waiters;

  constructor(waiters: Waiters) {
    this.#waiters = waiters;
  }

  /** Everybody: `first` is told `source`, the others that they joined. */
  giveAll(value: unknown, first: Waiter | undefined, source: Source): void {
    this.#waiters.answerAll(value, first, source);
  }

  failAll(error: unknown): void {
    this.#waiters.failAll(error);
  }

  /** Those who take what a load offers before its end, except `leader`. Returns how many. */
  giveEarly(offered: unknown, leader: Waiter | undefined): number {
    return this.#waiters.all().filter((waiter) => waiter !== leader && this.giveEarlyTo(waiter, offered)).length;
  }

  /** One, if it takes what a load offers. */
  giveEarlyTo(waiter: Waiter, offered: unknown): boolean {
    try {
      const taken = waiter.options.early?.(offered);
      if (taken === undefined) return false;
      this.#waiters.answer(waiter, taken.value, 'local', 0);
      return true;
    } catch (error) {
      this.#waiters.fail(waiter, error);
      return false;
    }
  }

  /** One, with the end of its own load. */
  giveEnd(waiter: Waiter, source: Source, end: LoadEnd): void {
    if (end.how === 'value') this.#waiters.answer(waiter, end.value, source, 0);
    if (end.how === 'error') this.#waiters.fail(waiter, end.error);
  }

  /** Those who accept a stored outcome of its age. Returns whether one of them asks for an early refresh. */
  giveStored(kept: Kept, random: () => number): { readonly refresh: Waiter | undefined } {
    let refresh: Waiter | undefined;
    for (const waiter of this.#waiters.all()) {
      const accepted = this.giveStoredTo(waiter, kept);
      if (accepted === 'fresh' && refresh === undefined && refreshesEarly(waiter, kept, random())) refresh = waiter;
    }
    return { refresh };
  }

  /** One, if it accepts a stored outcome of its age. */
  giveStoredTo(waiter: Waiter, kept: Kept): 'fresh' | 'stale' | undefined {
    const accepted = verdict(waiter, kept);
    if (accepted === undefined) return undefined;
    if (kept.end.how === 'error') this.#waiters.fail(waiter, kept.end.error);
    else this.#waiters.answer(waiter, kept.end.value, accepted === 'stale' ? 'stale' : freshSource(waiter), kept.ageMs);
    return accepted;
  }

  /** Those who rather have a stale value than the error of a load. */
  giveStaleIfError(kept: Kept): void {
    if (kept.end.how === 'error') return;
    for (const waiter of this.#waiters.all()) {
      if (acceptsIfError(waiter, kept)) this.#waiters.answer(waiter, kept.end.value, 'stale', kept.ageMs);
    }
  }
}

function freshSource({ options }: Waiter): Source {
  return options.ttlMs > 0 ? 'cache' : 'linger';
}
