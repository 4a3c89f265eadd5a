import type { BatchLoader } from './batch.js';
import { flightAroundBatch, isInsideBatch } from './batch-scope.js';
import { checkOptions, milliseconds } from './check-options.js';
import { systemClock, systemRandom, type Clock } from './clock.js';
import type { CoordinatorLink, FlightId, KeyHash, Message, TagHash } from './coordinator.js';
import { ClosedError, CoordinatorError, describe, misuse, ReentrantFlightError } from './errors.js';
import { Once, type OnceOptions } from './once.js';
import { Invalidations, type InvalidationsHost } from './invalidations.js';
import { Deadlines } from './deadlines.js';
import { Events, type BypassReason, type EventListener } from './events.js';
import { Boarding } from './flight/boarding.js';
import { Flight } from './flight/flight.js';
import { Groups, mayShare, type GivenOptions } from './flight/groups.js';
import type { FlightHost } from './flight-host.js';
import { Floors } from './floors.js';
import { canonicalKey, hashKey, isCanonical, keyBytes, type CanonicalKey, type Key, type KeyPart } from './key.js';
import {
  callOptions,
  checkCollapserOptions,
  DRAIN_MS_DEFAULT,
  LIMIT_DEFAULTS,
  PEEK_CHECKS,
  RUN_CHECKS,
  RUN_DEFAULTS,
  type CallOptions,
  type CollapserOptions,
  type Limits,
  type LoadContext,
  type Loader,
  type PeekOptions,
  type RunOptions,
  type StoredValue,
} from './options.js';
import { LocalValues } from './local-values.js';
import { isLoader, noLoader } from './loader.js';
import { peekRemotely, storedValue } from './peek.js';
import { PresenceWatch } from './presence.js';
import { Pulse } from './pulse.js';
import { findAround, isInsideLoad } from './reentrancy.js';
import { Report } from './report.js';
import { runMany, type ManyHost, type RunManyOptions } from './run-many.js';
import type { CollapserStats } from './stats.js';
import { checkTag, hashTag } from './tags.js';
import { warm, type WarmEntry, type WarmOptions, type WarmReport } from './warm.js';
import { WATCH_CHECKS, Watchers, type WatchOptions } from './watch.js';
import type { FlightResult, OneOfMany, Waiter } from './waiters.js';

/** After messages were lost and arrive again, followers look for their outcomes spread over this time. */
const RECHECK_SPREAD_MS = 50;

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

class ProcessCollapser implements Collapser, FlightHost, InvalidationsHost {
  readonly name: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly link: CoordinatorLink | undefined;
  readonly presence: PresenceWatch | undefined;
  opening: Promise<void> | undefined;
  readonly pulse: Pulse;
  readonly floors = new Floors();
  readonly values: LocalValues;
  readonly #observes: boolean;
  readonly #defaults: CallOptions;
  readonly #limits: Required<Limits>;
  readonly #events: Events;
  readonly report: Report;
  readonly #boarding = new Boarding();
  readonly deadlines: Deadlines;
  readonly #groups: Groups;
  /** All flights that still answer somebody, by the id that messages name. */
  readonly #flights = new Map<FlightId, Flight>();
  readonly #operations = new Set<Promise<void>>();
  readonly #watchers: Watchers;
  readonly #invalidations: Invalidations | undefined;
  /** The token with which each tag was last invalidated, as far as was heard; an invalidation made here comes back as a message. */
  readonly #tagsHeard = new Floors();
  readonly #once: Once;
  #sequence = 0;
  #closed: Promise<void> | undefined;
  /** Called when the last flight has ended, while `close` waits for it. */
  #onIdle: (() => void) | undefined;

  constructor(options: CollapserOptions) {
    const { name = 'default', coordinator, mode = 'collapse', limits, defaults } = options;
    this.name = name;
    this.#events = new Events(name);
    this.report = new Report(name, this.#events);
    this.clock = options.clock ?? coordinator?.clock ?? systemClock;
    this.pulse = new Pulse(this.clock);
    this.deadlines = new Deadlines(this.clock);
    this.#groups = new Groups(this.clock);
    this.random = options.random ?? systemRandom;
    this.#observes = mode === 'observe';
    this.#defaults = callOptions(defaults, RUN_DEFAULTS);
    this.#limits = { ...LIMIT_DEFAULTS, ...limits };
    this.#watchers = new Watchers(this.clock, this.#limits.watchersMax, () => this.report.bypassed('too_many_watchers'));
    this.values = new LocalValues(this.clock, this.#limits.valuesMax);
    this.link = this.#observes ? undefined : coordinator?.connect({ namespace: name, receive: (message) => this.#receive(message) });
    this.#invalidations = this.link && new Invalidations(this, this.link);
    this.#once = new Once(this.clock, (key, loader, runOptions) => this.flight(key, loader, runOptions));
    this.opening = this.link?.opening?.then(() => {
      this.opening = undefined;
    });
    this.presence = this.link?.absent === undefined ? undefined : new PresenceWatch(this, this.link);
  }

  run<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<T> {
    const open = typeof key === 'string' && isCanonical(key) ? this.#boarding.openFlight(key) : undefined;
    return promised<T>(this.#joinGroup(open, loader, options) ?? this.#call(key, loader, options, false));
  }

  flight<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<FlightResult<T>> {
    return promised<FlightResult<T>>(this.#call(key, loader, options, true));
  }

  async runMany<K extends KeyPart, T>(keys: readonly K[], load: BatchLoader<K, T>, options: RunManyOptions<K, T>): Promise<Map<K, T>> {
    this.#refuseWhenClosed();
    const host: ManyHost = {
      clock: this.clock,
      random: this.random,
      collapser: this,
      gatherMs: this.link?.timings.commandTimeoutMs ?? 0,
      codec: this.#defaults.codec,
      flight: <V>(key: Key, loader: Loader<V>, each: RunOptions, ofMany: OneOfMany) =>
        promised<FlightResult<V>>(this.#call(key, loader, each, true, { ofMany })),
    };
    return runMany(host, keys, load, options);
  }

  wrap<A extends unknown[], T>(fn: (...args: A) => Promise<T>, options: WrapOptions<A, T>): (...args: A) => Promise<T> {
    if (typeof fn !== 'function') throw misuse('ERR_ONEFLIGHT_LOADER', 'a function to wrap', describe(fn));
    const isFunction = (value: unknown): string | undefined =>
      typeof value === 'function' ? undefined : 'a function from the arguments to a key';
    checkOptions('options', options, { ...RUN_CHECKS, key: isFunction });
    const { key, ...rest } = options;
    if (key === undefined) throw misuse('ERR_ONEFLIGHT_OPTION', 'options.key to be a function from the arguments to a key', 'undefined');
    const runOptions: RunOptions<T> = rest;
    return (...args) => {
      try {
        return this.run(key(...args), () => fn(...args), runOptions);
      } catch (error) {
        return promised<T>(rejected(error)); // The key function's own.
      }
    };
  }

  once(key: Key, effect: (context: LoadContext) => unknown, options: OnceOptions): Promise<'ran' | 'skipped'> {
    return this.#once.run(key, effect, options);
  }

  async peek<T>(key: Key, options: PeekOptions<T> = {}): Promise<StoredValue<T> | undefined> {
    const canonical = canonicalKey(key);
    checkOptions('options', options, PEEK_CHECKS);
    this.#refuseWhenClosed();
    if (this.link === undefined) return typed<T>(storedValue(this.values.value(canonical)));
    return typed<T>(await peekRemotely(this, this.link, hashKey(this.name, canonical), options.codec ?? this.#defaults.codec));
  }

  async invalidate(key: Key): Promise<void> {
    const canonical = canonicalKey(key);
    this.#refuseWhenClosed();
    if (this.#invalidations === undefined) {
      this.values.delete(canonical);
      this.#fence(this.#boarding.openFlight(canonical), Number.POSITIVE_INFINITY);
      this.#watchers.invalidated(canonical, Number.POSITIVE_INFINITY);
      return;
    }
    const failure = await this.#invalidations.invalidate(hashKey(this.name, canonical));
    if (failure !== undefined) throw failure;
  }

  async invalidateTag(tag: string): Promise<void> {
    checkTag(tag);
    this.#refuseWhenClosed();
    if (this.#invalidations === undefined) {
      this.values.deleteTagged(tag);
      this.tagInvalidated(tag, Number.POSITIVE_INFINITY);
      return;
    }
    const index = this.link?.tags;
    if (index === undefined)
      throw new CoordinatorError('refused', 'this coordinator stores nothing, so no key carries a tag. Invalidate the keys one by one');
    const failure = await this.#invalidations.invalidateTag(index, this.tagName(tag));
    if (failure !== undefined) throw failure;
  }

  watch<T>(key: Key, loader: Loader<T>, options: WatchOptions<T> = {}): AsyncIterable<T> {
    const canonical = canonicalKey(key);
    if (!isLoader(loader)) throw noLoader(loader);
    checkOptions('options', options, { ...RUN_CHECKS, ...WATCH_CHECKS });
    this.#refuseWhenClosed();
    const topic = this.link === undefined ? canonical : hashKey(this.name, canonical);
    const load = (runOptions: RunOptions<T>): Promise<T> => promised<T>(this.#call(key, loader, runOptions, false, { isWatched: true }));
    return this.#watchers.watch({ topic, options, load, tagName: (tag) => this.tagName(tag) });
  }

  async warm<T>(entries: Iterable<WarmEntry<T>>, options?: WarmOptions<T>): Promise<WarmReport> {
    this.#refuseWhenClosed();
    return warm(this, entries, options);
  }

  stats(): CollapserStats {
    let waiters = 0;
    let loading = 0;
    for (const flight of this.#flights.values()) {
      waiters += flight.callers;
      if (flight.isLoading) loading++;
    }
    return {
      flights: this.#flights.size,
      joinable: this.#boarding.openCount,
      loading,
      waiters,
      watchers: this.#watchers.size,
      owed: this.#invalidations?.owed ?? 0,
      degraded: this.report.isDegraded,
      ...(this.link?.copies !== undefined && { copies: this.link.copies() }),
      totals: this.report.totals(),
    };
  }

  listen(listener: EventListener): () => void {
    if (typeof listener !== 'function') throw misuse('ERR_ONEFLIGHT_OPTION', 'a listener: a function of an event', describe(listener));
    return this.#events.listen(listener);
  }

  close(options: CloseOptions = {}): Promise<void> {
    checkOptions('options', options, { drainMs: milliseconds(0) });
    this.#closed ??= this.#close(options.drainMs ?? DRAIN_MS_DEFAULT);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ---- A call -------------------------------------------------------------------------------------------------------

  /** The shortest way, and that of most calls on a busy key: along with others who came at this moment and want the same. */
  #joinGroup(open: Flight | undefined, loader: unknown, options: object | undefined): Promise<unknown> | undefined {
    const group = open?.group;
    if (group?.takes(given(options), this.#limits.waitersPerFlightMax) !== true) return undefined;
    if (!isLoader(loader) || isInsideLoad() || isInsideBatch() || this.#closed !== undefined) return undefined;
    this.report.called();
    group.add();
    return group.promise;
  }

  #call(
    key: Key,
    loader: unknown,
    options: object | undefined,
    tellsHow: boolean,
    { ofMany, isWatched }: { readonly ofMany?: OneOfMany; readonly isWatched?: true } = NO_EXTRAS,
  ): Promise<unknown> {
    try {
      const canonical = canonicalKey(key);
      const open = this.#boarding.openFlight(canonical);
      const along = tellsHow ? undefined : this.#joinGroup(open, loader, options);
      if (along !== undefined) return along;
      const call = callOptions(options, this.#defaults, isWatched);
      if (!isLoader(loader)) throw noLoader(loader);
      this.#refuseWhenClosed();
      this.#refuseReentrance(canonical);
      call.signal?.throwIfAborted();
      this.report.called();
      const { promise, resolve, reject } = deferred();
      const place = { line: undefined, ahead: undefined, behind: undefined, unlisten: undefined };
      const waiter: Waiter = {
        key,
        loader,
        options: call,
        joinedAt: this.clock.now(),
        callers: 1,
        tellsHow,
        resolve,
        reject,
        ofMany,
        ...place,
      };
      this.#board(open, canonical, waiter);
      const joined = waiter.line === open?.waiters ? open : undefined;
      if (joined !== undefined && !tellsHow && ofMany === undefined && mayShare(call))
        joined.group = this.#groups.open(promise, waiter, given(options));
      return promise;
    } catch (error) {
      return rejected(error);
    }
  }

  /** Joins the open flight of the key, or starts one, or waits for the next; over a limit the call loads for itself. */
  #board(open: Flight | undefined, canonical: CanonicalKey, waiter: Waiter): void {
    if (this.#observes) this.#observe(open, canonical, waiter);
    else if (waiter.options.freshness === 'strict') this.boardNext(canonical, waiter);
    else if (this.#bypasses(open, canonical, waiter)) return;
    else if (open !== undefined) open.join(waiter);
    else this.#start(canonical, waiter);
  }

  #bypasses(current: Flight | undefined, canonical: CanonicalKey, waiter: Waiter): boolean {
    const reason = this.#limitReached(current, canonical);
    if (reason === undefined) return false;
    this.report.bypassed(reason);
    this.#startAlone(canonical, waiter);
    return true;
  }

  #limitReached(current: Flight | undefined, canonical: CanonicalKey): BypassReason | undefined {
    const { flightsMax, waitersPerFlightMax, keyBytesMax } = this.#limits;
    if (isInsideBatch()) return 'inside_batch';
    if (current !== undefined) return current.callers >= waitersPerFlightMax ? 'too_many_waiters' : undefined;
    if (this.#boarding.size >= flightsMax) return 'too_many_flights';
    return keyBytes(canonical) > keyBytesMax ? 'key_too_long' : undefined;
  }

  #start(canonical: CanonicalKey, waiter: Waiter): void {
    const flight = this.#newFlight(canonical, waiter);
    this.#boarding.open(flight);
    flight.fly();
  }

  #startAlone(canonical: CanonicalKey, waiter: Waiter): Flight {
    const flight = this.#newFlight(canonical, waiter);
    flight.flyAlone();
    return flight;
  }

  #newFlight(canonical: CanonicalKey, waiter: Waiter): Flight {
    const hash = this.link === undefined ? '' : hashKey(this.name, canonical);
    const flight = new Flight(this, `${this.link?.inbox ?? this.name}#${++this.#sequence}`, canonical, hash);
    this.#flights.set(flight.id, flight);
    flight.board(waiter);
    return flight;
  }

  /** Every caller loads. A key counts as in flight while the load that would have been its leader's runs. */
  #observe(current: Flight | undefined, canonical: CanonicalKey, waiter: Waiter): void {
    this.report.bypassed('observe');
    if (current !== undefined) {
      this.report.wouldCollapse();
      this.#startAlone(canonical, waiter);
      return;
    }
    const flight = this.#startAlone(canonical, waiter);
    if (this.#flights.has(flight.id)) this.#boarding.open(flight);
  }

  #refuseWhenClosed(): void {
    if (this.#closed !== undefined) throw new ClosedError();
  }

  #refuseReentrance(canonical: CanonicalKey): void {
    const isOurs = (load: object): load is Flight =>
      load instanceof Flight && load.canonical === canonical && load.isLoading && this.#flights.get(load.id) === load;
    const outer = findAround(isOurs);
    const waiting = outer?.id ?? flightAroundBatch(this, canonical);
    if (waiting !== undefined) throw new ReentrantFlightError(waiting);
  }

  // ---- The host of its flights --------------------------------------------------------------------------------------

  payInvalidation(key: KeyHash): Promise<CoordinatorError | undefined> | undefined {
    return this.#invalidations?.pay(key);
  }

  tagName(tag: string): TagHash {
    return this.link === undefined ? tag : hashTag(this.name, tag);
  }

  isJoinable(flight: Flight): boolean {
    return this.#boarding.isOpen(flight);
  }

  boardNext(canonical: CanonicalKey, waiter: Waiter): void {
    const next = this.#boarding.nextFlight(canonical);
    if (this.#bypasses(next, canonical, waiter)) return;
    if (this.#boarding.waitsForLoad(canonical)) waiter.ofMany?.onElection('following');
    if (next === undefined) this.#boarding.wait(this.#newFlight(canonical, waiter));
    else next.board(waiter);
  }

  takeAboard(flight: Flight, token: number | undefined): void {
    // Fenced before it began: nobody else is to get what it loads.
    if (token !== undefined && token <= this.floors.get(flight.hash)) flight.leave();
    else this.#boarding.takeAboard(flight);
  }

  makeWay(flight: Flight): void {
    this.#boarding.departSoon(flight.canonical);
  }

  leave(flight: Flight): void {
    this.#boarding.leave(flight);
  }

  ended(flight: Flight): void {
    this.#flights.delete(flight.id);
    if (this.#flights.size === 0) this.#onIdle?.();
  }

  background(operation: Promise<void>): void {
    this.#operations.add(operation);
    void operation.finally(() => this.#operations.delete(operation));
  }

  // ---- Messages and invalidation ------------------------------------------------------------------------------------

  #receive(message: Message): void {
    // These two are the link's own words: nothing arrived.
    if (message.kind !== 'deaf' && message.kind !== 'circuit') this.pulse.heard();
    switch (message.kind) {
      case 'settled':
      case 'woken':
        this.#deliver(message);
        return;
      case 'invalidated':
        this.floors.raise(message.key, message.floor);
        this.keyInvalidated(message.key, message.floor);
        return;
      case 'tag-invalidated':
        if (this.#tagsHeard.get(message.tag) !== message.token) this.tagInvalidated(message.tag, message.token);
        return;
      case 'deaf':
        this.report.hearing(false);
        this.#boarding.closeAll();
        return;
      case 'listening':
        this.report.hearing(true);
        for (const flight of this.#flights.values()) flight.recheckSoon(RECHECK_SPREAD_MS);
        this.#watchers.missed();
        this.#invalidations?.paySoon();
        return;
      case 'rejected':
        this.report.rejected(message.reason);
        return;
      case 'circuit':
        this.report.circuit(message.state);
        if (message.state === 'closed') this.#invalidations?.paySoon();
        return;
    }
  }

  #deliver(message: Extract<Message, { kind: 'settled' | 'woken' }>): void {
    for (const id of message.ids) {
      const flight = this.#flights.get(id);
      if (flight === undefined) continue; // Nobody waits any more: late, repeated, or the callers have left.
      if (flight.hash === message.key) flight.receive(message);
      else this.report.rejected('key_mismatch');
    }
  }

  keyInvalidated(key: KeyHash, floor: number): void {
    this.#fence(this.#boarding.openFlightOf(key), floor);
    this.#watchers.invalidated(key, floor);
  }

  tagInvalidated(tag: TagHash, token: number): void {
    this.#tagsHeard.set(tag, token);
    for (const flight of this.#boarding.openFlights()) if (flight.mayCarry(tag)) this.leave(flight);
    this.#watchers.tagInvalidated(tag);
  }

  #fence(flight: Flight | undefined, floor: number): void {
    if (flight?.isFencedBy(floor) === true) this.leave(flight);
  }

  // ---- The end ------------------------------------------------------------------------------------------------------

  async #close(drainMs: number): Promise<void> {
    this.#watchers.close();
    if (this.#flights.size > 0) await this.#idleWithin(drainMs);
    if (this.#flights.size > 0) {
      const idle = this.#idle();
      const error = new ClosedError(
        'the collapser was closed while this call waited, and its drainMs was over. Give close() a longer drainMs',
      );
      for (const flight of this.#flights.values()) flight.shut(error);
      await idle;
    }
    this.#invalidations?.close();
    while (this.#operations.size > 0) await Promise.all(this.#operations);
    await this.link?.close();
  }

  #idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  async #idleWithin(drainMs: number): Promise<void> {
    const idle = this.#idle();
    await new Promise<void>((resolve) => {
      const timer = this.clock.setTimer(resolve, drainMs);
      void idle.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

const NO_EXTRAS = Object.freeze({});

function deferred(): { promise: Promise<unknown>; resolve: Waiter['resolve']; reject: Waiter['reject'] } {
  let resolve: Waiter['resolve'] = () => undefined;
  let reject: Waiter['reject'] = () => undefined;
  const promise = new Promise((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** Untouched, whatever was thrown. */
function rejected(error: unknown): Promise<unknown> {
  const { promise, reject } = deferred();
  reject(error);
  return promise;
}

function given(options: object | undefined): GivenOptions {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- any object can be asked for any name
  return options as GivenOptions;
}

/** Here, and in `typed`, an answer gets its type back: it is what a loader of this key returned, here or elsewhere. */
function promised<T>(answer: Promise<unknown>): Promise<T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing at run time can check a type parameter
  return answer as Promise<T>;
}

function typed<T>(stored: StoredValue<unknown> | undefined): StoredValue<T> | undefined {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing at run time can check a type parameter
  return stored as StoredValue<T> | undefined;
}
