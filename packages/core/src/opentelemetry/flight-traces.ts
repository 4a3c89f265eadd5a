import type { SpanContext } from '@opentelemetry/api';
import type { Collapser } from '../collapser.js';
import type { FlightId } from '../coordinator.js';
import { spanOf } from './span-name.js';

/**
 * Flights that have ended are remembered until this many more have: their followers look them up a few microtasks later,
 * while other flights may end. As many as may be in progress by default.
 */
const ENDED_MAX = 10_000;

/** One flight's leader in this process. */
export interface LeaderTrace {
  readonly span: SpanContext;
  /** Callers of this process that its load answered besides its own; known when it has ended. */
  readonly followers: number | undefined;
}

/** The leader on another replica, as far as it is known: its flight from the claim, its span from the outcome. */
export interface RemoteLeader {
  readonly flightId?: FlightId;
  readonly span?: SpanContext;
}

/** Knows which span led a flight, for those that followed it in this process, and which flight a follower waited for. */
export class FlightTraces {
  readonly #loading = new Map<FlightId, LeaderTrace>();
  readonly #ended = new Map<FlightId, LeaderTrace>();
  readonly #remoteLeaders = new Map<FlightId, RemoteLeader>();
  readonly #failures = new WeakMap<object, SpanContext>();

  constructor(collapser: Collapser) {
    collapser.listen((event) => {
      if (event.type === 'load') this.#loadEnded(event.flightId, event.followers);
      if (event.type === 'election' && event.result === 'lost' && event.leaderId !== undefined) {
        this.#learn(event.flightId, { flightId: event.leaderId });
      }
      if (event.type === 'received' && event.trace !== undefined) this.#learn(event.flightId, { span: spanOf(event.trace) });
    });
  }

  /** A loader begins to run. Others of the same flight that run beside it load for themselves alone. */
  led(flightId: FlightId, span: SpanContext): void {
    if (!this.#loading.has(flightId)) this.#loading.set(flightId, { span, followers: undefined });
  }

  /** A loader failed with this error: whoever gets the very same one followed it. */
  failed(error: unknown, span: SpanContext): void {
    if (typeof error === 'object' && error !== null) this.#failures.set(error, span);
  }

  leaderOf(flightId: FlightId): LeaderTrace | undefined {
    return this.#loading.get(flightId) ?? this.#ended.get(flightId);
  }

  leaderOfFailure(error: unknown): SpanContext | undefined {
    return typeof error === 'object' && error !== null ? this.#failures.get(error) : undefined;
  }

  /** The leader on another replica whose outcome this flight waited for. */
  remoteLeaderOf(flightId: FlightId): RemoteLeader | undefined {
    return this.#remoteLeaders.get(flightId);
  }

  #learn(flightId: FlightId, facts: RemoteLeader): void {
    remember(this.#remoteLeaders, flightId, { ...this.#remoteLeaders.get(flightId), ...facts });
  }

  #loadEnded(flightId: FlightId, followers: number): void {
    const leader = this.#loading.get(flightId);
    if (leader === undefined) return;
    this.#loading.delete(flightId);
    remember(this.#ended, flightId, { ...leader, followers });
  }
}

function remember<V>(map: Map<FlightId, V>, id: FlightId, value: V): void {
  map.set(id, value);
  if (map.size <= ENDED_MAX) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
