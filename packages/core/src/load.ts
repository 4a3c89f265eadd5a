import { checkOptions } from './check-options.js';
import type { Clock, Timer } from './clock.js';
import type { FlightId } from './coordinator.js';
import { LoadTimeoutError, misuse } from './errors.js';
import type { Key } from './key.js';
import { runInside } from './reentrancy.js';
import { isTraceparent, type Traceparent } from './traceparent.js';
import { LIFETIME_CHECKS, type Lifetimes, type LoadContext, type Loader, type StoredValue } from './options.js';

/**
 * How a run of the loader ended. `aborted`: nobody wanted it any more, or the collapser closed. `trace`: the span in which
 * the loader said that it ran.
 */
export type LoadEnd =
  | { readonly how: 'value'; readonly value: unknown; readonly trace: Traceparent | undefined }
  | { readonly how: 'error'; readonly error: unknown; readonly timedOut: boolean; readonly trace: Traceparent | undefined }
  | { readonly how: 'aborted' };

export interface LoadRequest {
  readonly key: Key;
  readonly flightId: FlightId;
  readonly fencingToken: number | undefined;
  readonly loader: Loader<unknown>;
  readonly loadTimeoutMs: number;
  readonly clock: Clock;
  /** Whose load it is, to know later which loader a call comes from. */
  readonly owner: object;
  readonly isAlone: boolean;
  /** Whether the call said that it may call `unshareable`: else those who wait cannot be let go one by one. */
  readonly mayBePrivate: boolean;
  readonly onUnshareable: () => void;
  readonly previous: StoredValue<unknown> | undefined;
  readonly isRefresh: boolean;
  readonly onOffer: (offered: unknown) => void;
}

/**
 * One run of a loader. It ends exactly once: with the loader's value or error, at `loadTimeoutMs`, or when it is aborted;
 * what a loader does after that is ignored.
 */
export class Load {
  readonly end: Promise<LoadEnd>;
  readonly startedAt: number;
  readonly #request: LoadRequest;
  #resolve: ((end: LoadEnd) => void) | undefined;
  #timer: Timer | undefined;
  /** Made when the loader asks for its signal: most loaders never do. */
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;
  #trace: Traceparent | undefined;
  #lifetimes: Lifetimes | undefined;
  #offer: { readonly early: unknown } | undefined;

  constructor(request: LoadRequest) {
    this.#request = request;
    this.startedAt = request.clock.now();
    this.end = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Runs the loader. Apart from the constructor, so that whoever is asked from inside the loader knows its load. */
  start(): Promise<LoadEnd> {
    const { clock, loadTimeoutMs } = this.#request;
    if (loadTimeoutMs !== Number.POSITIVE_INFINITY) this.#timer = clock.setTimer(() => this.#timeOut(this.#request), loadTimeoutMs);
    this.#run(this.#request);
    return this.end;
  }

  get running(): boolean {
    return this.#resolve !== undefined;
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
    this.#finish({ how: 'aborted' });
  }

  #run(request: LoadRequest): void {
    let value: unknown;
    try {
      value = runInside(request.owner, () => request.loader(new Context(this, request)));
    } catch (error) {
      this.#fail(error);
      return;
    }
    Promise.resolve(value).then(
      (loaded) => this.#finish({ how: 'value', value: loaded, trace: this.#trace }),
      (error: unknown) => this.#fail(error),
    );
  }

  #fail(error: unknown): void {
    this.#finish({ how: 'error', error, timedOut: false, trace: this.#trace });
  }

  // ---- What the loader may say and ask while it runs ----------------------------------------------------------------

  unshareable(): void {
    if (!this.running) return;
    if (this.#request.mayBePrivate) {
      this.#request.onUnshareable();
      return;
    }
    const error = misuse(
      'ERR_ONEFLIGHT_OPTION',
      'options.mayBePrivate: true in all calls of the key, because callers without it share a promise and cannot be let go one by one',
      'unshareable() without it',
    );
    this.#fail(error); // Also where the loader catches it: nobody gets what it called private.
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
    this.#request.onOffer(early);
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

  #timeOut(request: LoadRequest): void {
    const error = new LoadTimeoutError(request.loadTimeoutMs, request.flightId);
    this.#abortSignal(error);
    this.#finish({ how: 'error', error, timedOut: true, trace: this.#trace });
  }

  #finish(end: LoadEnd): void {
    this.#timer?.cancel();
    this.#resolve?.(end);
    this.#resolve = undefined;
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

  constructor(load: Load, request: LoadRequest) {
    this.#load = load;
    this.key = request.key;
    this.flightId = request.flightId;
    this.fencingToken = request.fencingToken;
    this.previous = request.previous;
    this.isRefresh = request.isRefresh;
    this.isAlone = request.isAlone;
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
