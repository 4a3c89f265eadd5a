import { insideBatch } from './batch-scope.js';
import type { FlightId } from './coordinator.js';
import { describe, misuse } from './errors.js';
import type { CanonicalKey, KeyPart } from './key.js';
import type { LoadContext } from './options.js';

/**
 * Loads several keys at once: those that this replica leads. A key that is missing in the map it returns is missing in
 * every caller's result. Keys may be settled one by one before that; what the map has for them is then ignored.
 *
 * In place of a map it may give the keys one by one, as an async generator does: each is settled when it is yielded, and
 * those that never are, are missing.
 */
export type BatchLoader<K extends KeyPart, T> = (keys: readonly K[], context: BatchContext<K, T>) => Batch<K, T> | PromiseLike<Batch<K, T>>;

/** What a batch loader has for its keys: all of it, or one key after the other. */
export type Batch<K extends KeyPart, T> = ReadonlyMap<K, T> | AsyncIterable<readonly [key: K, value: T]>;

/**
 * What a batch loader is told about its run. `key` is all its keys, `flightId` the first key's, `signal` aborts when nobody
 * waits for any of its keys any more, `keep` is for all of them; a `fencingToken` and `previous` are of one key: ask `of(key)`.
 */
export interface BatchContext<K extends KeyPart, T> extends LoadContext {
  /** Answers everybody who waits for this key, now. @throws TypeError for a key that is not of this batch. */
  settle(key: K, value: T): void;
  /** Fails everybody who waits for this key, now, and nobody else. @throws TypeError for a key that is not of this batch. */
  fail(key: K, error: unknown): void;
  /** One key's own context. @throws TypeError for a key that is not of this batch. */
  of(key: K): LoadContext;
}

/** One key of a batch: its flight's load waits for `resolve` or `reject`. */
export interface BatchItem<K extends KeyPart, T> {
  readonly key: K;
  readonly canonical: CanonicalKey;
  readonly context: LoadContext;
  resolve(value: T | undefined): void;
  reject(error: unknown): void;
}

/** Runs a batch loader once for these keys, and ends the load of each. Never rejects. */
export async function loadBatch<K extends KeyPart, T>(
  collapser: object,
  load: BatchLoader<K, T>,
  items: readonly BatchItem<K, T>[],
): Promise<void> {
  const [first] = items;
  if (first === undefined) return;
  const byKey = new Map(items.map((item) => [item.key, item]));
  const flights = new Map<CanonicalKey, FlightId>(items.map((item) => [item.canonical, item.context.flightId]));
  try {
    const context = contextOf(first, byKey);
    const values = await insideBatch({ collapser, flights }, async () => {
      const batch = await load([...byKey.keys()], context);
      return isAsyncIterable(batch) ? settleEach(batch, context) : batch;
    });
    if (typeof values?.get !== 'function')
      throw misuse('ERR_ONEFLIGHT_LOADER', 'a batch loader that returns a Map from key to value', describe(values));
    for (const { key, resolve } of items) resolve(values.get(key));
  } catch (error) {
    for (const { reject } of items) reject(error);
  }
}

function isAsyncIterable<K extends KeyPart, T>(batch: Batch<K, T>): batch is AsyncIterable<readonly [K, T]> {
  return typeof Reflect.get(Object(batch), Symbol.asyncIterator) === 'function';
}

/** Settles keys as they come. Returns what is left for the end: nothing. */
async function settleEach<K extends KeyPart, T>(
  batch: AsyncIterable<readonly [K, T]>,
  context: BatchContext<K, T>,
): Promise<ReadonlyMap<K, T>> {
  for await (const [key, value] of batch) context.settle(key, value);
  return new Map();
}

function contextOf<K extends KeyPart, T>(first: BatchItem<K, T>, items: ReadonlyMap<K, BatchItem<K, T>>): BatchContext<K, T> {
  let together: AbortSignal | undefined;
  const item = (key: K): BatchItem<K, T> => {
    const found = items.get(key);
    if (found === undefined) throw misuse('ERR_ONEFLIGHT_KEY', 'a key of this batch', describe(key));
    return found;
  };
  return {
    key: [...items.keys()],
    flightId: first.context.flightId,
    fencingToken: undefined,
    get signal() {
      together ??= allAborted(Array.from(items.values(), ({ context }) => context.signal));
      return together;
    },
    unshareable() {
      for (const { context } of items.values()) context.unshareable();
    },
    inSpan(traceparent) {
      for (const { context } of items.values()) context.inSpan(traceparent);
    },
    previous: undefined,
    isRefresh: false,
    keep(lifetimes) {
      for (const { context } of items.values()) context.keep(lifetimes);
    },
    isAlone: Array.from(items.values()).every(({ context }) => context.isAlone),
    offer(early) {
      for (const { context } of items.values()) context.offer(early);
    },
    settle: (key, value) => item(key).resolve(value),
    fail: (key, error) => item(key).reject(error),
    of: (key) => item(key).context,
  };
}

/** Aborts when the last of them does, with its reason. */
function allAborted(signals: readonly AbortSignal[]): AbortSignal {
  const all = new AbortController();
  let left = signals.length;
  const onAbort = (signal: AbortSignal): void => {
    if (--left === 0) all.abort(signal.reason);
  };
  for (const signal of signals) {
    if (signal.aborted) onAbort(signal);
    else signal.addEventListener('abort', () => onAbort(signal), { once: true });
  }
  return all.signal;
}
