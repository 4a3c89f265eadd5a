import { AsyncLocalStorage } from 'node:async_hooks';
import { setMaxListeners } from 'node:events';
import { loadBatch, type BatchItem, type BatchLoader } from './batch.js';
import { checkOptions, type OptionCheck } from './check-options.js';
import type { Clock, Timer } from './clock.js';
import type { Codec } from './codec.js';
import { describe, misuse } from './errors.js';
import { canonicalKey, type CanonicalKey, type Key, type KeyPart } from './key.js';
import { RUN_CHECKS, type Loader, type RunOptions } from './options.js';
import { Rechecks } from './rechecks.js';
import type { Tags } from './tags.js';
import type { FlightResult, OneOfMany, OnElection } from './waiters.js';

/** Options of `runMany`: those of each key's call, and what a key stands for. */
export interface RunManyOptions<K extends KeyPart = KeyPart, T = unknown> extends RunOptions<T> {
  /** The key under which one of `keys` is collapsed: `(id) => ['seat', id]`. `run` with that key joins. Required. */
  readonly key: (key: K) => Key;
  /**
   * Told each key that failed; the key is then missing in the result. Without it the first failure rejects the whole
   * call, as with Promise.all. What it throws rejects the call. @default none
   */
  readonly onKeyError?: (key: K, error: unknown) => void;
}

const RUN_MANY_CHECKS: Readonly<Record<string, OptionCheck>> = {
  ...RUN_CHECKS,
  key: (value) => (typeof value === 'function' ? undefined : 'a function from one of the keys to the key it stands for'),
  onKeyError: (value) => (typeof value === 'function' ? undefined : 'a function of a key and its error'),
};

/** What many calls at once need from their collapser. */
export interface ManyHost {
  readonly clock: Clock;
  random(): number;
  /** Calls inside the batch loader are told by it. */
  readonly collapser: object;
  /** A batch waits this long for the replies to the claims of its other keys, from its first key on. */
  readonly gatherMs: number;
  /** What values travel by unless the options have one; undefined: the coordinator's, which knows `undefined`. */
  readonly codec: Codec | undefined;
  flight<T>(key: Key, loader: Loader<T>, options: RunOptions, ofMany: OneOfMany): Promise<FlightResult<T>>;
}

/** Runs all keys; those that this replica leads are loaded together. The result has the order of `keys`. */
export async function runMany<K extends KeyPart, T>(
  host: ManyHost,
  keys: readonly K[],
  load: BatchLoader<K, T>,
  options: RunManyOptions<K, T>,
): Promise<Map<K, T>> {
  checkRunMany(keys, load, options);
  const { onKeyError, key: keyOf, signal, codec: own, ...rest } = options;
  const codec: Codec | undefined = own ?? host.codec;
  const targets = targetsOf(keys, keyOf);
  signal?.throwIfAborted();
  const leave = signal && leaveWith(signal);
  const callOptions: RunOptions = {
    ...rest,
    ...(codec && { codec: orMissing(codec) }),
    ...(leave && { signal: leave.signal }),
    ...(typeof rest.tags === 'function' && { tags: tagsUnlessMissing(rest.tags) }),
  };
  const gathering = new Gathering(host, load, targets.keys());
  const rechecks = new Rechecks(host.clock, host.random());
  const found = new Map<K, T | undefined>(Array.from(targets.keys(), (key) => [key, undefined]));
  const calls = Array.from(targets, async ([key, target], place) => {
    const loader = gathering.loaderOf(key, target.canonical, place);
    try {
      const { value, source } = await host.flight<T | undefined>(target.key, loader, callOptions, {
        onElection: gathering.listenerOf(key),
        rechecks,
      });
      found.set(key, value);
      gathering.answered(key, source === 'stale');
    } catch (error) {
      gathering.answered(key);
      if (onKeyError === undefined) throw error;
      onKeyError(key, error);
    }
  });
  if (leave !== undefined) void Promise.allSettled(calls).then(leave.forget);
  await Promise.all(calls);
  return withoutMissing(found);
}

/**
 * Gathers the keys that one call is to load here into batches. A batch starts when no key of the call waits for the reply
 * to a claim any more, or `gatherMs` after its first key came; it never waits for what another replica loads, because that
 * one might wait for this one. A key that comes later, after a takeover, say, goes into another batch.
 */
class Gathering<K extends KeyPart, T> {
  readonly #host: ManyHost;
  readonly #load: BatchLoader<K, T>;
  readonly #inCallersContext = AsyncLocalStorage.snapshot();
  /** Keys whose claims are not answered; to begin with all of them. */
  readonly #asking: Set<K>;
  #led: (BatchItem<K, T> & { readonly place: number })[] = [];
  #timer: Timer | undefined;

  constructor(host: ManyHost, load: BatchLoader<K, T>, keys: Iterable<K>) {
    this.#host = host;
    this.#load = load;
    this.#asking = new Set(keys);
  }

  /** The loader of one key: its load ends when its batch has settled the key. */
  loaderOf(key: K, canonical: CanonicalKey, place: number): Loader<T | undefined> {
    return (context) =>
      new Promise((resolve, reject) => {
        this.#led.push({ key, canonical, place, context, resolve, reject });
        this.answered(key);
      });
  }

  listenerOf(key: K): OnElection {
    return (state) => {
      if (state === 'asking') this.#asking.add(key);
      else this.answered(key);
    };
  }

  /** Nothing is to be waited for on behalf of this key; after a stale answer only in a moment, it may be refreshed here. */
  answered(key: K, mayStillLead = false): void {
    if (mayStillLead) {
      this.#host.clock.setTimer(() => this.answered(key), 0);
      return;
    }
    this.#asking.delete(key);
    this.#startWhenComplete();
  }

  #startWhenComplete(): void {
    if (this.#led.length === 0) return;
    if (this.#asking.size === 0) this.#start();
    else this.#timer ??= this.#host.clock.setTimer(() => this.#start(), this.#host.gatherMs);
  }

  #start(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const led = this.#led.toSorted((a, b) => a.place - b.place);
    this.#led = [];
    // What nobody waits for any more, or what took too long, has ended without us.
    const wanted = led.filter(({ context }) => !context.signal.aborted);
    void this.#inCallersContext(() => loadBatch(this.#host.collapser, this.#load, wanted));
  }
}

interface Target {
  readonly key: Key;
  readonly canonical: CanonicalKey;
}

function checkRunMany(keys: unknown, load: unknown, options: unknown): void {
  if (!Array.isArray(keys)) throw misuse('ERR_ONEFLIGHT_KEY', 'keys to be an array', describe(keys));
  if (typeof load !== 'function')
    throw misuse('ERR_ONEFLIGHT_LOADER', 'a batch loader: a function that returns a Map from key to value', describe(load));
  checkOptions('options', options, RUN_MANY_CHECKS);
  if (typeof Reflect.get(Object(options), 'key') !== 'function')
    throw misuse('ERR_ONEFLIGHT_OPTION', 'options.key to be a function from one of the keys to the key it stands for', 'undefined');
}

/** Each key once, in its first place; all are checked before any is asked for. */
function targetsOf<K extends KeyPart>(keys: readonly K[], keyOf: (key: K) => Key): ReadonlyMap<K, Target> {
  const targets = new Map<K, Target>();
  for (const item of keys) {
    const key = keyOf(item);
    targets.set(item, { key, canonical: canonicalKey(key) });
  }
  return targets;
}

/** One signal for any number of calls: Node warns of many listeners on the caller's own. */
function leaveWith(signal: AbortSignal): { readonly signal: AbortSignal; readonly forget: () => void } {
  const all = new AbortController();
  setMaxListeners(0, all.signal);
  const onAbort = (): void => all.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  return { signal: all.signal, forget: () => signal.removeEventListener('abort', onAbort) };
}

/** A key that the source does not have travels as no bytes at all, whatever the codec. */
function orMissing(codec: Codec): Codec {
  return {
    encode(value) {
      if (value === undefined) return new Uint8Array();
      const bytes = codec.encode(value);
      if (bytes.byteLength > 0) return bytes;
      throw new TypeError('a value of no bytes cannot be told from a missing one');
    },
    decode: (bytes) => (bytes.byteLength === 0 ? undefined : codec.decode(bytes)),
  };
}

/** A key that the source does not have is no value to ask for tags. */
function tagsUnlessMissing<T>(tags: Exclude<Tags<T>, readonly string[]>): (value: T) => readonly string[] {
  return (value) => (value === undefined ? [] : tags(value));
}

function withoutMissing<K, T>(found: ReadonlyMap<K, T | undefined>): Map<K, T> {
  const values = new Map<K, T>();
  for (const [key, value] of found) {
    if (value !== undefined) values.set(key, value);
  }
  return values;
}
