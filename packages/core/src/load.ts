import { checkOptions } from './check-options.js';
import type { Clock, Timer } from './clock.js';
import type { FlightId } from './coordinator.js';
import type { Bounded, Deadlines } from './deadlines.js';
import { LoadTimeoutError, misuse } from './errors.js';
import type { Key } from './key.js';
import { runInside } from './reentrancy.js';
import { isTraceparent, type Traceparent } from './traceparent.js';
import { LIFETIME_CHECKS, type Lifetimes, type LoadContext, type StoredValue } from './options.js';
import type { Waiter } from './waiters.js';

/**
 * How a run of the loader ended. `aborted`: nobody wanted it any more, or the collapser closed. `trace`: the span in which
 * the loader said that it ran.
 */
export type LoadEnd =
  | { readonly how: 'value'; readonly value: unknown; readonly trace: Traceparent | undefined }
  | { readonly how: 'error'; readonly error: unknown; readonly timedOut: boolean; readonly trace: Traceparent | undefined }
  | { readonly how: 'aborted' };

/** Whose load it is. */
export interface LoadOwner {
  readonly id: FlightId;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** The loader says that its answer belongs to its caller alone. */
  onUnshareable(load: Load): void;
  /** The loader offers something before its end. */
  onOffer(load: Load, offered: unknown): void;
  /** Called once, from a task or microtask of its own. */
  onLoadEnd(load: Load, end: LoadEnd): void;
}

/** What a loader is told about its run, beside what its call says. */
export interface LoadTerms {
  readonly fencingToken: number | undefined;
  readonly isAlone: boolean;
  readonly isRefresh: boolean;
  readonly previous: StoredValue<unknown> | undefined;
}

/**
 * One run of a loader. It ends exactly once: with the loader's value or error, at `loadTimeoutMs`, or when it is aborted;
 * what a loader does after that is ignored.
 */
export class Load implements Bounded {
  /** Whose loader runs. */
  readonly caller: Waiter;
  readonly startedAt: number;
  readonly #owner: LoadOwner;
  readonly #terms: LoadTerms;
  #isRunning = true;
  #deadline: Timer | undefined;
  /** Made when the loader asks for its signal: most loaders never do. */
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;
  #trace: Traceparent | undefined;
  #lifetimes: Lifetimes | undefined;
  #offer: { readonly early: unknown } | undefined;

  constructor(owner: LoadOwner, caller: Waiter, terms: LoadTerms) {
    this.caller = caller;
    this.startedAt = owner.clock.now();
    this.#owner = owner;
    this.#terms = terms;
  }

  /** Runs the loader. Apart from the constructor, so that whoever is asked from inside the loader knows its load. */
  start(): void {
    const { loadTimeoutMs } = this.caller.options;
    if (loadTimeoutMs !== Number.POSITIVE_INFINITY)
      this.#deadline = this.#owner.deadlines.start(this, this.startedAt + loadTimeoutMs, loadTimeoutMs);
    try {
      const value = runInside(this.#owner, () => this.caller.loader(this.#context()));
      Promise.resolve(value).then(
        (loaded) => this.#finish({ how: 'value', value: loaded, trace: this.#trace }),
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#failSoon(error);
    }
  }

  get running(): boolean {
    return this.#isRunning;
  }

  /** How long its value may be stored; undefined where the loader said nothing. */
  get lifetimes(): Lifetimes | undefined {
    return this.#lifetimes;
  }

  /** What the loader offers to those who wait, while it runs. */
  get offer(): { readonly early: unknown } | undefined {
    return this.running ? this.#offer : undefined;
  }

  /** Ends the load without an outcome and aborts the loader's signal. */
  abort(reason: unknown): void {
    if (!this.running) return;
    this.#abortSignal(reason);
    this.#finishSoon({ how: 'aborted' });
  }

  #context(): LoadContext {
    return new Context(this, this.#owner.id, this.#terms);
  }

  #fail(error: unknown): void {
    this.#finish({ how: 'error', error, timedOut: false, trace: this.#trace });
  }

  #failSoon(error: unknown): void {
    this.#finishSoon({ how: 'error', error, timedOut: false, trace: this.#trace });
  }

  // ---- What the loader may say and ask while it runs ----------------------------------------------------------------

  unshareable(): void {
    if (!this.running) return;
    if (this.caller.options.mayBePrivate) {
      this.#owner.onUnshareable(this);
      return;
    }
    const error = misuse(
      'ERR_ONEFLIGHT_OPTION',
      'options.mayBePrivate: true in all calls of the key, because callers without it share a promise and cannot be let go one by one',
      'unshareable() without it',
    );
    this.#failSoon(error); // Also where the loader catches it: nobody gets what it called private.
    throw error;
  }

  inSpan(traceparent: string): void {
    if (isTraceparent(traceparent)) this.#trace = traceparent;
  }

  keep(lifetimes: Lifetimes): void {
    checkOptions('lifetimes', lifetimes, LIFETIME_CHECKS);
    if (lifetimes.ttlMs === undefined) throw misuse('ERR_ONEFLIGHT_OPTION', 'lifetimes.ttlMs to be a number of milliseconds', 'undefined');
    if (this.running) this.#lifetimes = lifetimes;
  }

  offers(early: unknown): void {
    if (!this.running) return;
    this.#offer = { early };
    this.#owner.onOffer(this, early);
  }

  signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  #abortSignal(reason: unknown): void {
    this.#aborted = { reason };
    this.#controller?.abort(reason);
  }

  onDeadline(): void {
    const error = new LoadTimeoutError(this.caller.options.loadTimeoutMs, this.#owner.id);
    this.#abortSignal(error);
    this.#finishSoon({ how: 'error', error, timedOut: true, trace: this.#trace });
  }

  #finish(end: LoadEnd): void {
    if (this.#stop()) this.#owner.onLoadEnd(this, end);
  }

  /** It ends now, and its owner, who may be in the midst of something, is told next. */
  #finishSoon(end: LoadEnd): void {
    if (this.#stop()) queueMicrotask(() => this.#owner.onLoadEnd(this, end));
  }

  /** Returns whether it was running. */
  #stop(): boolean {
    if (!this.#isRunning) return false;
    this.#isRunning = false;
    this.#deadline?.cancel();
    return true;
  }
}

/**
 * What a loader is told. Each load makes one, so what most loaders never ask for is made when they ask. Its functions know
 * their load also where a loader took them out of it.
 */
class Context implements LoadContext {
  readonly key: Key;
  readonly flightId: FlightId;
  readonly fencingToken: number | undefined;
  readonly previous: StoredValue<unknown> | undefined;
  readonly isRefresh: boolean;
  readonly isAlone: boolean;
  readonly #load: Load;

  constructor(load: Load, flightId: FlightId, terms: LoadTerms) {
    this.#load = load;
    this.key = load.caller.key;
    this.flightId = flightId;
    this.fencingToken = terms.fencingToken;
    this.previous = terms.previous;
    this.isRefresh = terms.isRefresh;
    this.isAlone = terms.isAlone;
  }

  get signal(): AbortSignal {
    return this.#load.signal();
  }

  get unshareable(): LoadContext['unshareable'] {
    return () => this.#load.unshareable();
  }

  get inSpan(): LoadContext['inSpan'] {
    return (traceparent) => this.#load.inSpan(traceparent);
  }

  get keep(): LoadContext['keep'] {
    return (lifetimes) => this.#load.keep(lifetimes);
  }

  get offer(): LoadContext['offer'] {
    return (early) => this.#load.offers(early);
  }
}
