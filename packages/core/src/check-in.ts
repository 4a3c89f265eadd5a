import { flightAroundBatch, isInsideBatch } from './batch-scope.js';
import type { FlightId } from './coordinator.js';
import { deferred, rejected } from './deferred.js';
import { ClosedError, ReentrantFlightError } from './errors.js';
import type { BypassReason } from './events.js';
import type { Boarding } from './flight/boarding.js';
import { Flight } from './flight/flight.js';
import { Groups, mayShare, type GivenOptions } from './flight/groups.js';
import type { FlightHost } from './flight-host.js';
import { canonicalKey, hashKey, isCanonical, keyBytes, type CanonicalKey, type Key } from './key.js';
import { isLoader, noLoader } from './loader.js';
import { callOptions, type CallOptions, type Limits } from './options.js';
import { findAround, isInsideLoad } from './reentrancy.js';
import type { Report } from './report.js';
import type { OneOfMany, Waiter } from './waiters.js';

/** The collapser that is called. */
export interface CheckInHost extends FlightHost {
  readonly name: string;
  readonly isClosed: boolean;
  readonly report: Report;
}

/** What the collapser was told about calls. */
export interface CheckInRules {
  readonly observes: boolean;
  readonly defaults: CallOptions;
  readonly limits: Required<Limits>;
}

/** What a call may be beside `run` and `flight`. */
interface CallExtras {
  readonly ofMany?: OneOfMany;
  readonly isWatched?: true;
}

const NO_EXTRAS: CallExtras = Object.freeze({});

/** A call's way into a flight: one that is open, a new one, the next one, or one of its own where it cannot be collapsed. */
export class CheckIn {
  readonly #host: CheckInHost;
  readonly #rules: CheckInRules;
  readonly #boarding: Boarding;
  /** All flights that still answer somebody, by the id that messages name. */
  readonly #flights: Map<FlightId, Flight>;
  readonly #groups: Groups;
  #sequence = 0;

  constructor(host: CheckInHost, rules: CheckInRules, boarding: Boarding, flights: Map<FlightId, Flight>) {
    this.#host = host;
    this.#rules = rules;
    this.#boarding = boarding;
    this.#flights = flights;
    this.#groups = new Groups(host.clock);
  }

  /** Resolves with the value alone. */
  run(key: Key, loader: unknown, options: object | undefined): Promise<unknown> {
    try {
      const open = typeof key === 'string' && isCanonical(key) ? this.#boarding.openFlight(key) : undefined;
      return this.#joinGroup(open, loader, options) ?? this.call(key, loader, options, false);
    } catch (error) {
      return rejected(error); // A property of the options that throws.
    }
  }

  /** The shortest way, and that of most calls on a busy key: along with others who came at this moment and want the same. */
  #joinGroup(open: Flight | undefined, loader: unknown, options: object | undefined): Promise<unknown> | undefined {
    const group = open?.group;
    if (group?.takes(given(options), this.#rules.limits.waitersPerFlightMax) !== true) return undefined;
    if (!isLoader(loader) || isInsideLoad() || isInsideBatch() || this.#host.isClosed) return undefined;
    this.#host.report.called();
    group.add();
    return group.promise;
  }

  /** Resolves with the value, or with a FlightResult. Misuse rejects. */
  call(
    key: Key,
    loader: unknown,
    options: object | undefined,
    tellsHow: boolean,
    { ofMany, isWatched }: CallExtras = NO_EXTRAS,
  ): Promise<unknown> {
    try {
      const canonical = canonicalKey(key);
      const open = this.#boarding.openFlight(canonical);
      const along = tellsHow ? undefined : this.#joinGroup(open, loader, options);
      if (along !== undefined) return along;
      const call = callOptions(options, this.#rules.defaults, isWatched);
      if (!isLoader(loader)) throw noLoader(loader);
      if (this.#host.isClosed) throw new ClosedError();
      this.#refuseReentrance(canonical);
      call.signal?.throwIfAborted();
      this.#host.report.called();
      const { promise, resolve, reject } = deferred();
      const place = { line: undefined, ahead: undefined, behind: undefined, unlisten: undefined };
      const waiter: Waiter = {
        key,
        loader,
        options: call,
        joinedAt: this.#host.clock.now(),
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
    if (this.#rules.observes) this.#observe(open, canonical, waiter);
    else if (waiter.options.freshness === 'strict') this.boardNext(canonical, waiter);
    else if (this.#bypasses(open, canonical, waiter)) return;
    else if (open !== undefined) open.join(waiter);
    else this.#start(canonical, waiter);
  }

  #bypasses(current: Flight | undefined, canonical: CanonicalKey, waiter: Waiter): boolean {
    const reason = this.#limitReached(current, canonical);
    if (reason === undefined) return false;
    this.#host.report.bypassed(reason);
    this.#startAlone(canonical, waiter);
    return true;
  }

  #limitReached(current: Flight | undefined, canonical: CanonicalKey): BypassReason | undefined {
    const { flightsMax, waitersPerFlightMax, keyBytesMax } = this.#rules.limits;
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
    const hash = this.#host.link === undefined ? '' : hashKey(this.#host.name, canonical);
    const flight = new Flight(this.#host, `${this.#host.link?.inbox ?? this.#host.name}#${++this.#sequence}`, canonical, hash);
    this.#flights.set(flight.id, flight);
    flight.board(waiter);
    return flight;
  }

  /** Every caller loads. A key counts as in flight while the load that would have been its leader's runs. */
  #observe(current: Flight | undefined, canonical: CanonicalKey, waiter: Waiter): void {
    this.#host.report.bypassed('observe');
    if (current !== undefined) {
      this.#host.report.wouldCollapse();
      this.#startAlone(canonical, waiter);
      return;
    }
    const flight = this.#startAlone(canonical, waiter);
    if (this.#flights.has(flight.id)) this.#boarding.open(flight);
  }

  /** The call needs a load that starts later. */
  boardNext(canonical: CanonicalKey, waiter: Waiter): void {
    const next = this.#boarding.nextFlight(canonical);
    if (this.#bypasses(next, canonical, waiter)) return;
    if (this.#boarding.waitsForLoad(canonical)) waiter.ofMany?.onElection('following');
    if (next === undefined) this.#boarding.wait(this.#newFlight(canonical, waiter));
    else next.board(waiter);
  }

  #refuseReentrance(canonical: CanonicalKey): void {
    const isOurs = (load: object): load is Flight =>
      load instanceof Flight && load.canonical === canonical && load.isLoading && this.#flights.get(load.id) === load;
    const outer = findAround(isOurs);
    const waiting = outer?.id ?? flightAroundBatch(this.#host, canonical);
    if (waiting !== undefined) throw new ReentrantFlightError(waiting);
  }
}

function given(options: object | undefined): GivenOptions {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- any object can be asked for any name
  return options as GivenOptions;
}
