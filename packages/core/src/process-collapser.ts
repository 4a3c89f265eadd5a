import type { CloseOptions, Collapser, WrapOptions } from './collapser.js';
import type { BatchLoader } from './batch.js';
import { CheckIn, type CheckInHost } from './check-in.js';
import { checkOptions, milliseconds } from './check-options.js';
import { systemClock, systemRandom, type Clock } from './clock.js';
import type { CoordinatorLink, FlightId, KeyHash, Message, TagHash } from './coordinator.js';
import { ClosedError, CoordinatorError, describe, misuse } from './errors.js';
import { Once, type OnceOptions } from './once.js';
import { Invalidations, type InvalidationsHost } from './invalidations.js';
import { rejected } from './deferred.js';
import { Deadlines } from './deadlines.js';
import { Events, type EventListener } from './events.js';
import { Boarding } from './flight/boarding.js';
import type { Flight } from './flight/flight.js';
import { Floors } from './floors.js';
import { canonicalKey, hashKey, type CanonicalKey, type Key, type KeyPart } from './key.js';
import {
  callOptions,
  DRAIN_MS_DEFAULT,
  LIMIT_DEFAULTS,
  PEEK_CHECKS,
  RUN_CHECKS,
  RUN_DEFAULTS,
  type CallOptions,
  type CollapserOptions,
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
import { Report } from './report.js';
import { runMany, type ManyHost, type RunManyOptions } from './run-many.js';
import type { CollapserStats } from './stats.js';
import { checkTag, hashTag } from './tags.js';
import { warm, type WarmEntry, type WarmOptions, type WarmReport } from './warm.js';
import { WATCH_CHECKS, Watchers, type WatchOptions } from './watch.js';
import type { FlightResult, OneOfMany, Waiter } from './waiters.js';

/** After messages were lost and arrive again, followers look for their outcomes spread over this time. */
const RECHECK_SPREAD_MS = 50;

/** What a collapser is in this process: the parts of it, and how they hang together. */
export class ProcessCollapser implements Collapser, CheckInHost, InvalidationsHost {
  readonly name: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly link: CoordinatorLink | undefined;
  readonly presence: PresenceWatch | undefined;
  opening: Promise<void> | undefined;
  readonly pulse: Pulse;
  readonly floors = new Floors();
  readonly values: LocalValues;
  readonly #defaults: CallOptions;
  readonly #events: Events;
  readonly report: Report;
  readonly #boarding = new Boarding();
  readonly deadlines: Deadlines;
  readonly #checkIn: CheckIn;
  /** All flights that still answer somebody, by the id that messages name. */
  readonly #flights = new Map<FlightId, Flight>();
  readonly #operations = new Set<Promise<void>>();
  readonly #watchers: Watchers;
  readonly #invalidations: Invalidations | undefined;
  /** The token with which each tag was last invalidated, as far as was heard; an invalidation made here comes back as a message. */
  readonly #tagsHeard = new Floors();
  readonly #once: Once;
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
    this.random = options.random ?? systemRandom;
    const observes = mode === 'observe';
    this.#defaults = callOptions(defaults, RUN_DEFAULTS);
    const allLimits = { ...LIMIT_DEFAULTS, ...limits };
    this.#checkIn = new CheckIn(this, { observes, defaults: this.#defaults, limits: allLimits }, this.#boarding, this.#flights);
    this.#watchers = new Watchers(this.clock, allLimits.watchersMax, () => this.report.bypassed('too_many_watchers'));
    this.values = new LocalValues(this.clock, allLimits.valuesMax);
    this.link = observes ? undefined : coordinator?.connect({ namespace: name, receive: (message) => this.#receive(message) });
    this.#invalidations = this.link && new Invalidations(this, this.link);
    this.#once = new Once(this.clock, (key, loader, runOptions) => this.flight(key, loader, runOptions));
    this.opening = this.link?.opening?.then(() => {
      this.opening = undefined;
    });
    this.presence = this.link?.absent === undefined ? undefined : new PresenceWatch(this, this.link);
  }

  run<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<T> {
    return promised<T>(this.#checkIn.run(key, loader, options));
  }

  flight<T>(key: Key, loader: Loader<T>, options?: RunOptions<T>): Promise<FlightResult<T>> {
    return promised<FlightResult<T>>(this.#checkIn.call(key, loader, options, true));
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
        promised<FlightResult<V>>(this.#checkIn.call(key, loader, each, true, { ofMany })),
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
    const load = (runOptions: RunOptions<T>): Promise<T> =>
      promised<T>(this.#checkIn.call(key, loader, runOptions, false, { isWatched: true }));
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

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  #refuseWhenClosed(): void {
    if (this.isClosed) throw new ClosedError();
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
    this.#checkIn.boardNext(canonical, waiter);
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

/** Here, and in `typed`, an answer gets its type back: it is what a loader of this key returned, here or elsewhere. */
function promised<T>(answer: Promise<unknown>): Promise<T> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing at run time can check a type parameter
  return answer as Promise<T>;
}

function typed<T>(stored: StoredValue<unknown> | undefined): StoredValue<T> | undefined {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing at run time can check a type parameter
  return stored as StoredValue<T> | undefined;
}
