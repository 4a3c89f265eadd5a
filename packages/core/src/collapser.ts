import type { BatchLoader } from './batch.js';
import type { OnceOptions } from './once.js';
import type { EventListener } from './events.js';
import type { Key, KeyPart } from './key.js';
import {
  checkCollapserOptions,
  type CollapserOptions,
  type LoadContext,
  type Loader,
  type PeekOptions,
  type RunOptions,
  type StoredValue,
} from './options.js';
import type { RunManyOptions } from './run-many.js';
import type { CollapserStats } from './stats.js';
import type { WarmEntry, WarmOptions, WarmReport } from './warm.js';
import type { WatchOptions } from './watch.js';
import type { FlightResult } from './waiters.js';
import { ProcessCollapser } from './process-collapser.js';

/** Collapses equal calls into one load, inside this process and, with a coordinator, across all replicas. */
export interface Collapser extends AsyncDisposable {
  /** The collapser's name. */
  readonly name: string;
  /**
   * Calls `loader` for the value of `key`, unless a load of the key is under way on any replica: then waits for that one.
   *
   * @throws The loader's own error, untouched; RemoteLoadError for one that happened in another process. WaitTimeoutError,
   * LoadTimeoutError, ReentrantFlightError, PayloadError, ClosedError; CoordinatorError only with `whenDegraded: 'reject'`;
   * the reason of an aborted `signal`; TypeError for misuse. All by rejection.
   */
  run<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<T>;
  /** As `run`, and tells how the caller came by the value. */
  flight<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<FlightResult<T>>;
  /**
   * Runs many keys at once. Those that this replica leads are loaded by one call of `load`; the others come from the
   * replicas that lead them: each key is loaded once in the whole cluster. `run` of one of the keys joins, and is joined.
   * Keys that the loader's map does not have, or has `undefined` for, are missing in the result, on every replica.
   *
   * Calls made inside the batch loader are not collapsed, because two batches could wait for each other. One for a key of
   * the batch itself gets ReentrantFlightError.
   *
   * @throws As `run`, the first failure of a key; see `onKeyError` for the others' values. TypeError where `load` returns no Map.
   */
  runMany<K extends KeyPart, T>(keys: readonly K[], load: BatchLoader<K, T>, options: RunManyOptions<K, T>): Promise<Map<K, T>>;
  /**
   * Makes a collapsed version of a function: `key` maps its arguments to a key.
   *
   * @throws TypeError ERR_ONEFLIGHT_OPTION at once for wrong options; what `run` throws when called.
   */
  wrap<A extends unknown[], T>(fn: (...args: A) => Promise<T>, options: WrapOptions<A, T>): (...args: A) => Promise<T>;
  /**
   * Runs `effect` once per `ttlMs` in the whole cluster, whoever calls and how often; says whether this call ran it.
   * An effect that fails rejects for its caller and the next caller tries; one whose process dies is run again by
   * another replica: at least once, and usually once. Without the coordinator, once per process.
   *
   * @throws What the effect throws; TypeError for misuse, also where `ttlMs` is missing, and inside a batch loader of
   * `runMany`, where nothing is collapsed. All by rejection.
   */
  once(key: Key, effect: (context: LoadContext) => unknown, options: OnceOptions): Promise<'ran' | 'skipped'>;
  /**
   * What is stored for the key, of whatever age: loads nothing, waits for no load, joins no flight. `undefined` where nothing
   * is stored, what is stored cannot be read, or the coordinator is out of reach. It is for the caller to judge the age.
   *
   * @throws TypeError for misuse, ClosedError. Both by rejection.
   */
  peek<T>(key: Key, options?: PeekOptions<T>): Promise<StoredValue<T> | undefined>;
  /**
   * Keeps every load of the key that began before from answering a call that comes after. Once it resolves this holds on
   * this replica; on another one once it has received the news. Callers who already wait are still answered.
   *
   * @throws CoordinatorError when other replicas could not be told. It holds on this replica all the same, and they are
   * told when the key is next asked for here.
   */
  invalidate(key: Key): Promise<void>;
  /**
   * As `invalidate` of every key that carries the tag, on whichever replica and however many: what is stored of them is
   * gone, no load of them that began before answers a call that comes after, and their watchers get a new value. Costs
   * one round trip of each key that is stored with the tag, some hundred at a time.
   *
   * @throws CoordinatorError when it could not be finished, or where the coordinator stores nothing. It holds on this
   * replica all the same, and is finished before the next flight here. TypeError for what is no tag. All by rejection.
   */
  invalidateTag(tag: string): Promise<void>;
  /**
   * Yields the value of the key, and a new one after each invalidation of it, made here or heard from another replica:
   * `debounceMs` after it, from one load in the whole cluster. A slow reader gets the newest value only. A value that was
   * being loaded when the key was invalidated is dropped and loaded again; where the key changes faster than it loads,
   * every second one is given all the same. After messages may have been lost it reloads once. Nothing is polled.
   *
   * Ends, without an error, when `signal` aborts, when the reader stops (`break`), and when the collapser closes; over
   * `limits.watchersMax` after the first value.
   *
   * @throws TypeError for misuse and ClosedError, at once. By iteration: what `run` throws for the first load. A reload
   * that fails is tried again, see `onError`.
   */
  watch<T>(key: Key, loader: Loader<T>, options?: WatchOptions<T>): AsyncIterable<T>;
  /**
   * Loads keys before anybody asks for them; give `ttlMs`, or nothing is kept. Replicas that warm the same keys at the same
   * time begin at different places of the list and load each key once between them. Resolves also where keys failed:
   * the report names them. When `signal` aborts it resolves with what was done; `timeoutMs` is the patience for each key.
   *
   * @throws TypeError for misuse, ClosedError, what `onProgress` throws. All by rejection.
   */
  warm<T>(entries: Iterable<WarmEntry<T>>, options?: WarmOptions<T>): Promise<WarmReport>;
  /** What goes on now, and totals since the start, as plain numbers. */
  stats(): CollapserStats;
  /** Tells `listener` everything that happens (also on `node:diagnostics_channel`), until the function it returns is called. */
  listen(listener: EventListener): () => void;
  /**
   * Refuses new calls with ClosedError, waits up to `drainMs` for flights to end, then ends the rest: their callers get
   * ClosedError, their loaders' signals abort, another replica takes over. Closing again waits for the same end.
   *
   * @param options.drainMs Milliseconds. Default 5_000.
   */
  close(options?: CloseOptions): Promise<void>;
}

export type WrapOptions<A extends unknown[], T> = { readonly key: (...args: A) => Key } & RunOptions<T>;

export interface CloseOptions {
  readonly drainMs?: number;
}

/**
 * Makes a collapser.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for an unknown option, a wrong value, or a contradiction.
 */
export function createCollapser(options: CollapserOptions = {}): Collapser {
  checkCollapserOptions(options);
  return new ProcessCollapser(options);
}
