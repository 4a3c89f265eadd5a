import { checkOptions, wholeNumber, type OptionCheck } from './check-options.js';
import type { Clock } from './clock.js';
import { describe, misuse } from './errors.js';
import { canonicalKey, type Key } from './key.js';
import { isLoader, noLoader } from './loader.js';
import { RUN_CHECKS, type Loader, type RunOptions } from './options.js';
import type { FlightResult } from './waiters.js';

/** One key to load ahead of its callers. */
export interface WarmEntry<T> {
  readonly key: Key;
  readonly loader: Loader<T>;
}

/** Options of `warm`: those of each of its calls, and how it goes about them. */
export interface WarmOptions<T = unknown> extends RunOptions<T> {
  /** Keys that this replica waits for at the same time. @default 4 */
  readonly concurrency?: number;
  /** Told after each entry how far it is. What it throws ends the warming and rejects it. */
  readonly onProgress?: (progress: WarmProgress) => void;
}

export interface WarmProgress {
  /** Entries that are over, failed ones included. */
  readonly done: number;
  readonly failed: number;
  readonly total: number;
}

/** What came of a warming. */
export interface WarmReport {
  /** Keys whose loader ran here. */
  readonly loaded: number;
  /** Keys that another replica loaded, that another caller here was loading, or whose value was still stored. */
  readonly shared: number;
  /** Keys that failed: the place in the list, the key, the error. */
  readonly failed: readonly { readonly index: number; readonly key: Key; readonly error: unknown }[];
  /** Keys that were not tried, because `signal` aborted. */
  readonly skipped: number;
  readonly durationMs: number;
}

const WARM_CHECKS: Readonly<Record<string, OptionCheck>> = {
  ...RUN_CHECKS,
  concurrency: wholeNumber(1),
  onProgress: (value) => (typeof value === 'function' ? undefined : 'a function of the progress'),
};

const CONCURRENCY_DEFAULT = 4;

/** What a warming needs from its collapser. */
export interface WarmHost {
  readonly clock: Clock;
  random(): number;
  flight<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<FlightResult<T>>;
}

/** Loads each entry once; the replicas that do so at the same time begin at different places and meet. */
export async function warm<T>(host: WarmHost, entries: Iterable<WarmEntry<T>>, options: WarmOptions<T> = {}): Promise<WarmReport> {
  checkOptions('options', options, WARM_CHECKS);
  const { concurrency = CONCURRENCY_DEFAULT, onProgress, ...runOptions } = options;
  const list = checkedEntries(entries);
  const warming = new Warming(host, list, runOptions);
  const work = async (): Promise<void> => {
    for (let next = warming.take(); next !== undefined; next = warming.take()) {
      if (await warming.load(next)) onProgress?.(warming.progress());
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, list.length) }, work));
  } finally {
    warming.stop();
  }
  return warming.report();
}

interface Place<T> {
  readonly index: number;
  readonly entry: WarmEntry<T>;
}

/** How far one warming is. */
class Warming<T> {
  readonly #host: WarmHost;
  readonly #options: RunOptions<T>;
  readonly #startedAt: number;
  readonly #total: number;
  readonly #left: Place<T>[];
  readonly #failed: WarmReport['failed'][number][] = [];
  #loaded = 0;
  #shared = 0;

  constructor(host: WarmHost, list: readonly WarmEntry<T>[], options: RunOptions<T>) {
    this.#host = host;
    this.#options = options;
    this.#startedAt = host.clock.now();
    this.#total = list.length;
    const places = list.map((entry, index) => ({ index, entry }));
    const first = Math.floor(host.random() * list.length);
    this.#left = [...places.slice(first), ...places.slice(0, first)].toReversed();
  }

  take(): Place<T> | undefined {
    return this.#options.signal?.aborted === true ? undefined : this.#left.pop();
  }

  stop(): void {
    this.#left.length = 0;
  }

  /** Returns whether the entry is over; not if it was given up. */
  async load({ index, entry: { key, loader } }: Place<T>): Promise<boolean> {
    try {
      const { source } = await this.#host.flight(key, loader, this.#options);
      if (source === 'leader' || source === 'degraded' || source === 'bypass') this.#loaded++;
      else this.#shared++;
    } catch (error) {
      if (this.#options.signal?.aborted === true) return false;
      this.#failed.push({ index, key, error });
    }
    return true;
  }

  progress(): WarmProgress {
    return { done: this.#done, failed: this.#failed.length, total: this.#total };
  }

  report(): WarmReport {
    return {
      loaded: this.#loaded,
      shared: this.#shared,
      failed: this.#failed.toSorted((a, b) => a.index - b.index),
      skipped: this.#total - this.#done,
      durationMs: this.#host.clock.now() - this.#startedAt,
    };
  }

  get #done(): number {
    return this.#loaded + this.#shared + this.#failed.length;
  }
}

function checkedEntries<T>(entries: Iterable<WarmEntry<T>>): readonly WarmEntry<T>[] {
  if (typeof Reflect.get(Object(entries), Symbol.iterator) !== 'function')
    throw misuse('ERR_ONEFLIGHT_OPTION', 'entries to be an iterable of { key, loader }', describe(entries));
  const list = [...entries];
  for (const [index, entry] of list.entries()) {
    if (typeof entry !== 'object' || entry === null)
      throw misuse('ERR_ONEFLIGHT_OPTION', `entries[${index}] to be { key, loader }`, describe(entry));
    canonicalKey(entry.key);
    if (!isLoader(entry.loader)) throw noLoader(entry.loader);
  }
  return list;
}
