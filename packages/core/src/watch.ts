import { AsyncLocalStorage } from 'node:async_hooks';
import { milliseconds, type OptionCheck } from './check-options.js';
import type { Clock, Timer } from './clock.js';
import type { RunOptions } from './options.js';
import { tagsOf } from './tags.js';

/** Several invalidations within this time are one reload. */
const DEBOUNCE_MS_DEFAULT = 50;
/** A reload is answered by one that another replica made for the same invalidation up to this long before. */
const RELOAD_LINGER_MS = 500;
/** A reload that failed is tried again after this long, then after twice as long, up to the maximum. Without jitter: replicas that try at the same moment load once. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;

/** More tags than this are invalidated during one load: then it counts as overtaken, whatever it carries. */
const TAGS_MEANWHILE_MAX = 1_000;
const NO_TAGS: ReadonlySet<string> = new Set();

/** Options of one `watch`: those of its loads, and when to reload. */
export interface WatchOptions<T = unknown> extends RunOptions<T> {
  /** Milliseconds from an invalidation to the reload that it causes; all invalidations in between cause that one reload. @default 50 */
  readonly debounceMs?: number;
  /**
   * Told each reload that failed. It is tried again 1 second later, then 2, 4, up to 30, until one succeeds. What it
   * throws ends the iteration. The first load is not tried again: its error ends the iteration. @default failed reloads are tried again silently
   */
  readonly onError?: (error: unknown) => void;
}

export const WATCH_CHECKS: Readonly<Record<string, OptionCheck>> = {
  debounceMs: milliseconds(0),
  onError: (value) => (typeof value === 'function' ? undefined : 'a function of the error'),
};

/** What is watched: a name for its key, and how to load its value. */
export interface Watched<T> {
  readonly topic: string;
  readonly options: WatchOptions<T>;
  load(options: RunOptions<T>): Promise<T>;
  /** A tag as `tagInvalidated` names it. */
  tagName(tag: string): string;
}

/** All watchers of one collapser, by what they watch. Nothing is held for an iteration that has not begun or has ended. */
export class Watchers {
  readonly clock: Clock;
  readonly #watchersMax: number;
  readonly #onLimit: () => void;
  readonly #topics = new Map<string, Topic>();
  #size = 0;
  #isClosed = false;

  constructor(clock: Clock, watchersMax: number, onLimit: () => void) {
    this.clock = clock;
    this.#watchersMax = watchersMax;
    this.#onLimit = onLimit;
  }

  get size(): number {
    return this.#size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Each iteration watches by itself, from its first `next()` on. */
  watch<T>(watched: Watched<T>): AsyncIterable<T> {
    return { [Symbol.asyncIterator]: () => new Watcher(this, watched) };
  }

  /** The key was invalidated, with this token where it has one: the same token again is the same invalidation. */
  invalidated(topic: string, floor: number): void {
    this.#topics.get(topic)?.invalidated(floor);
  }

  /** Everything that carries the tag was invalidated. */
  tagInvalidated(tag: string): void {
    for (const topic of this.#topics.values()) topic.tagInvalidated(tag);
  }

  /** Invalidations may have been missed. */
  missed(): void {
    for (const topic of this.#topics.values()) topic.invalidated(Number.POSITIVE_INFINITY);
  }

  /** Ends every iteration. */
  close(): void {
    this.#isClosed = true;
    for (const topic of [...this.#topics.values()]) topic.close();
  }

  /** Returns the watcher's topic, or undefined over the limit. */
  add(name: string, watcher: Member): Topic | undefined {
    if (this.#size >= this.#watchersMax) {
      this.#onLimit();
      return undefined;
    }
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      topic = new Topic(this.clock);
      this.#topics.set(name, topic);
    }
    topic.members.add(watcher);
    this.#size++;
    return topic;
  }

  remove(name: string, watcher: Member): void {
    const topic = this.#topics.get(name);
    if (topic?.members.delete(watcher) !== true) return;
    this.#size--;
    if (topic.members.size > 0) return;
    topic.silence();
    this.#topics.delete(name);
  }
}

/** A watcher as its topic sees it. */
interface Member {
  /** When it wants to be called; undefined: not at all. */
  readonly dueAt: number | undefined;
  invalidated(): void;
  tagInvalidated(tag: string): void;
  due(): void;
  end(): void;
}

/** The watchers of one key: told together, and called together when they are due, so that their loads are one. */
class Topic {
  readonly members = new Set<Member>();
  readonly #clock: Clock;
  #ringing: { readonly at: number; readonly timer: Timer } | undefined;
  #floor: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  invalidated(floor: number): void {
    // An invalidation made here comes back as a message too.
    if (floor === this.#floor && floor !== Number.POSITIVE_INFINITY) return;
    this.#floor = floor;
    for (const member of this.members) member.invalidated();
    this.#ringForFirst();
  }

  tagInvalidated(tag: string): void {
    for (const member of this.members) member.tagInvalidated(tag);
    this.#ringForFirst();
  }

  close(): void {
    for (const member of [...this.members]) member.end();
  }

  /** One timer for all members: it rings when the first is due. Who left meanwhile is not looked for. */
  ringBy(at: number): void {
    if (this.#ringing !== undefined && this.#ringing.at <= at) return;
    this.silence();
    this.#ringing = { at, timer: this.#clock.setTimer(() => this.#ring(), Math.max(0, at - this.#clock.now())) };
  }

  silence(): void {
    this.#ringing?.timer.cancel();
    this.#ringing = undefined;
  }

  #ringForFirst(): void {
    let first = Number.POSITIVE_INFINITY;
    for (const { dueAt } of this.members) first = Math.min(first, dueAt ?? first);
    if (first !== Number.POSITIVE_INFINITY) this.ringBy(first);
  }

  #ring(): void {
    this.#ringing = undefined;
    const now = this.#clock.now();
    for (const member of this.members) {
      if (member.dueAt !== undefined && member.dueAt <= now) member.due();
    }
    this.#ringForFirst();
  }
}

/**
 * One iteration: at most one load under way and one more wanted, and one value that waits for its reader, the newest.
 * A load that an invalidation overtook is dropped and made again; but of two in a row the second is given, or a key that
 * changes faster than it loads would never be seen to change.
 */
class Watcher<T> implements AsyncIterator<T>, Member {
  readonly #watchers: Watchers;
  readonly #watched: Watched<T>;
  readonly #leave = new AbortController();
  readonly #readers: { readonly resolve: (result: IteratorResult<T>) => void; readonly reject: (error: unknown) => void }[] = [];
  #state: 'new' | 'watching' | 'ended' = 'new';
  /** Undefined over the limit: then the first value is the last. */
  #topic: Topic | undefined;
  #inCallersContext: (<R>(run: () => R) => R) | undefined;
  #unlisten: (() => void) | undefined;
  #newest: { readonly value: T } | undefined;
  #failure: { readonly error: unknown } | undefined;
  #isLoading = false;
  #isWanted = false;
  #isOvertaken = false;
  #hasDropped = false;
  #hasLoaded = false;
  #failures = 0;
  /** What its value carries, as far as is known. */
  #tags: ReadonlySet<string> = NO_TAGS;
  /** Tags that were invalidated while a load ran whose value may turn out to carry them; bounded. */
  readonly #tagsMeanwhile = new Set<string>();
  dueAt: number | undefined;

  constructor(watchers: Watchers, watched: Watched<T>) {
    this.#watchers = watchers;
    this.#watched = watched;
  }

  // ---- Its reader ---------------------------------------------------------------------------------------------------

  async next(): Promise<IteratorResult<T>> {
    if (this.#state === 'new') this.#start();
    const newest = this.#newest;
    this.#newest = undefined;
    if (newest !== undefined) return { done: false, value: newest.value };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
    if (this.#state === 'ended') return { done: true, value: undefined };
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T>> {
    this.#newest = undefined;
    this.#failure = undefined;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  // ---- Its life -----------------------------------------------------------------------------------------------------

  #start(): void {
    const { topic, options } = this.#watched;
    if (this.#watchers.isClosed || options.signal?.aborted === true) {
      this.end();
      return;
    }
    this.#state = 'watching';
    if (typeof options.tags !== 'function') this.#tags = this.#namesOf(options.tags ?? []);
    this.#inCallersContext = AsyncLocalStorage.snapshot();
    this.#topic = this.#watchers.add(topic, this);
    const onAbort = (): void => void this.return();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.#unlisten = () => options.signal?.removeEventListener('abort', onAbort);
    this.#load();
  }

  end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.dueAt = undefined;
    this.#watchers.remove(this.#watched.topic, this);
    this.#unlisten?.();
    this.#leave.abort();
    for (const { resolve } of this.#readers.splice(0)) resolve({ done: true, value: undefined });
  }

  #fail(error: unknown): void {
    const reader = this.#readers.shift();
    if (reader === undefined) this.#failure = { error };
    else reader.reject(error);
    this.end();
  }

  // ---- Its loads ----------------------------------------------------------------------------------------------------

  invalidated(): void {
    this.#newest = undefined;
    this.#isOvertaken = true;
    this.dueAt ??= this.#watchers.clock.now() + (this.#watched.options.debounceMs ?? DEBOUNCE_MS_DEFAULT);
  }

  tagInvalidated(tag: string): void {
    if (this.#tags.has(tag)) this.invalidated();
    else if (this.#isLoading && typeof this.#watched.options.tags === 'function') this.#tagsMeanwhile.add(tag);
    if (this.#tagsMeanwhile.size > TAGS_MEANWHILE_MAX) this.invalidated();
  }

  due(): void {
    this.dueAt = undefined;
    if (this.#isLoading) this.#isWanted = true;
    else this.#load();
  }

  #load(): void {
    const { debounceMs: _, onError: __, ...options } = this.#watched.options;
    // What begins after the invalidation was heard is new enough, and one such load does for all replicas.
    const reload = this.#hasLoaded && { lingerMs: Math.max(options.lingerMs ?? 0, RELOAD_LINGER_MS), freshness: 'join' as const };
    this.#isLoading = true;
    this.#isWanted = false;
    this.#isOvertaken = false;
    this.#tagsMeanwhile.clear();
    const load = (): Promise<T> => this.#watched.load({ ...options, ...reload, signal: this.#leave.signal });
    void this.#inCallersContext?.(load).then(
      (value) => this.#loaded(value),
      (error: unknown) => this.#loadFailed(error),
    );
  }

  #loaded(value: T): void {
    this.#isLoading = false;
    if (this.#state === 'ended') return;
    this.#hasLoaded = true;
    this.#failures = 0;
    this.#label(value);
    const mayDrop = this.#isOvertaken && !this.#hasDropped;
    this.#hasDropped = mayDrop;
    if (!mayDrop) this.#give(value);
    if (this.#topic === undefined) this.end();
    else if (this.#isWanted) this.#load();
  }

  /** Only now a function of the value can say which tags it carries, and whether one was invalidated meanwhile. */
  #label(value: T): void {
    const { tags } = this.#watched.options;
    if (typeof tags !== 'function') return;
    try {
      this.#tags = this.#namesOf(tagsOf(tags, { how: 'value', value }));
    } catch {
      return; // The replica that loaded it was told: there the load failed.
    }
    if ([...this.#tagsMeanwhile].some((tag) => this.#tags.has(tag))) {
      this.invalidated();
      if (this.dueAt !== undefined) this.#topic?.ringBy(this.dueAt);
    }
  }

  #namesOf(tags: readonly string[]): ReadonlySet<string> {
    return new Set(tags.map((tag) => this.#watched.tagName(tag)));
  }

  #give(value: T): void {
    const reader = this.#readers.shift();
    if (reader === undefined) this.#newest = { value };
    else reader.resolve({ done: false, value });
  }

  #loadFailed(error: unknown): void {
    this.#isLoading = false;
    if (this.#watchers.isClosed) this.end();
    if (this.#state === 'ended') return;
    if (!this.#hasLoaded) {
      this.#fail(error);
      return;
    }
    try {
      this.#watched.options.onError?.(error);
    } catch (thrown) {
      this.#fail(thrown);
      return;
    }
    this.dueAt = this.#watchers.clock.now() + Math.min(RETRY_MS_MIN * 2 ** this.#failures++, RETRY_MS_MAX);
    this.#topic?.ringBy(this.dueAt);
  }
}
