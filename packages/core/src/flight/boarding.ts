import type { KeyHash } from '../coordinator.js';
import type { CanonicalKey } from '../key.js';
import type { Flight } from './flight.js';

/**
 * Which flight a call gets into. A call that may be answered by a load that runs already joins the open flight of its key.
 * One that needs a load which starts later waits for the next flight, together with all who come until that takes off: when
 * no claim of the key is under way here and no loader of it runs. A load that starts here meanwhile takes them along.
 */
export class Boarding {
  readonly #open = new Map<CanonicalKey, Flight>();
  /** The same flights by the hash that messages name. */
  readonly #openByHash = new Map<KeyHash, Flight>();
  /** The next flights: callers wait in them, and they have not asked for anything. */
  readonly #next = new Map<CanonicalKey, Flight>();
  /** The latest of them that took off, by key, until it is over. */
  readonly #departed = new Map<CanonicalKey, Flight>();

  /** How many flights calls may join, the next ones left out. */
  get openCount(): number {
    return this.#open.size;
  }

  /** How many flights there are here at most for which calls have to wait or which they may join. */
  get size(): number {
    return this.#open.size + this.#next.size + this.#departed.size;
  }

  openFlight(key: CanonicalKey): Flight | undefined {
    return this.#open.get(key);
  }

  openFlightOf(hash: KeyHash): Flight | undefined {
    return this.#openByHash.get(hash);
  }

  openFlights(): readonly Flight[] {
    return [...this.#open.values()];
  }

  nextFlight(key: CanonicalKey): Flight | undefined {
    return this.#next.get(key);
  }

  isOpen(flight: Flight): boolean {
    return this.#open.get(flight.canonical) === flight;
  }

  /** Whether the next flight of the key waits while a loader runs here. */
  waitsForLoad(key: CanonicalKey): boolean {
    return this.#open.get(key)?.isLoading === true || this.#departed.get(key)?.isLoading === true;
  }

  open(flight: Flight): void {
    this.#open.set(flight.canonical, flight);
    if (flight.hash !== '') this.#openByHash.set(flight.hash, flight);
  }

  /** The flight is the next one of its key. */
  wait(flight: Flight): void {
    this.#next.set(flight.canonical, flight);
    this.departSoon(flight.canonical);
  }

  /** No call gets into the flight any more, and none has to wait for it. */
  leave(flight: Flight): void {
    if (this.#open.get(flight.canonical) === flight) this.#open.delete(flight.canonical);
    if (this.#openByHash.get(flight.hash) === flight) this.#openByHash.delete(flight.hash);
    if (this.#next.get(flight.canonical) === flight) this.#next.delete(flight.canonical);
    if (this.#departed.get(flight.canonical) === flight) this.#departed.delete(flight.canonical);
    this.departSoon(flight.canonical);
  }

  /** Messages may have been lost: nobody joins what there is. */
  closeAll(): void {
    const keys = [...this.#open.keys()];
    this.#open.clear();
    this.#openByHash.clear();
    for (const key of keys) this.departSoon(key);
  }

  /** The flight's load is about to start: calls join it, and those who wait for the next flight of its key come along. */
  takeAboard(flight: Flight): void {
    if (this.#departed.get(flight.canonical) === flight) this.open(flight);
    const next = this.#next.get(flight.canonical);
    if (next === undefined) return;
    this.#next.delete(flight.canonical);
    for (const waiter of next.disband()) flight.board(waiter);
  }

  /**
   * Lets the next flight take off when whoever is in its way may have gone: after what goes on now, so that a settle is
   * sent before the claim that follows it, and that calls of one moment are one flight.
   */
  departSoon(key: CanonicalKey): void {
    if (this.#next.has(key)) queueMicrotask(() => this.#depart(key));
  }

  #depart(key: CanonicalKey): void {
    const next = this.#next.get(key);
    if (next === undefined || isInTheWay(this.#open.get(key)) || isInTheWay(this.#departed.get(key))) return;
    this.#next.delete(key);
    this.#departed.set(key, next);
    next.fly();
  }
}

/** Its claim is under way, or its loader runs: it may be about to load for those who wait, or it is too late for them to join. */
function isInTheWay(flight: Flight | undefined): boolean {
  return flight !== undefined && !flight.isFollowing;
}
