import { channel, type Channel } from 'node:diagnostics_channel';
import type { CoordinatorFailure } from './errors.js';
import type { CircuitState, FlightId, Outcome, RejectReason } from './coordinator.js';
import type { Traceparent } from './traceparent.js';
import type { Source } from './waiters.js';

/**
 * What a collapser tells about its work. No event carries a key, a value or an error message. Objects are frozen and
 * their fields are public API.
 */
export type CollapserEvent =
  /** A call has ended. `outcome` is its source, or how it failed. */
  | {
      readonly type: 'call';
      readonly flightId: FlightId;
      readonly outcome: Source | 'error' | 'timeout' | 'aborted';
      readonly waitedMs: number;
    }
  /** A call was not collapsed. */
  | { readonly type: 'bypass'; readonly reason: BypassReason }
  /** `mode: 'observe'`: a call that would not have loaded, because its key was being loaded in this process. */
  | { readonly type: 'collapsible' }
  /** A loader has run. `followers` counts the callers here that it answered besides its own. */
  | {
      readonly type: 'load';
      readonly flightId: FlightId;
      readonly source: 'leader' | 'degraded' | 'bypass';
      readonly result: 'ok' | 'error' | 'timeout' | 'aborted';
      readonly durationMs: number;
      readonly followers: number;
    }
  /** A claim was answered: this replica leads (`takeover`: after it had waited for another one), follows, or found the outcome there. */
  | {
      readonly type: 'election';
      readonly flightId: FlightId;
      readonly result: 'won' | 'takeover' | 'lost' | 'settled';
      readonly leaderId: FlightId | undefined;
    }
  /** A leader found, while it loads, that it no longer holds its key: its lease ended, or the key was invalidated. */
  | { readonly type: 'detached'; readonly flightId: FlightId; readonly why: 'lease_lost' | 'invalidated' }
  /** A load here ended after another replica had come to lead its key: the key was loaded twice. */
  | { readonly type: 'duplicate'; readonly flightId: FlightId }
  /** An outcome, or the giving up of a claim, that the coordinator never acknowledged. */
  | { readonly type: 'lost'; readonly what: 'settle' | 'release' }
  /** An outcome was not given to other replicas, or to any other caller. */
  | { readonly type: 'unshareable'; readonly flightId: FlightId; readonly why: 'untravelable' | 'private' }
  /** An outcome was settled: its size as it travels, and how many other replicas it was sent to where that is known. */
  | { readonly type: 'settle'; readonly flightId: FlightId; readonly bytes: number }
  /** One round trip to the coordinator. */
  | {
      readonly type: 'operation';
      readonly operation: Operation;
      readonly durationMs: number;
      readonly error: CoordinatorFailure | undefined;
    }
  /** The outcome of another replica's load came to a flight that waited for it. `trace`: the span of that load, a W3C traceparent. */
  | {
      readonly type: 'received';
      readonly flightId: FlightId;
      readonly result: Outcome['kind'];
      readonly trace: Traceparent | undefined;
    }
  /** A message or a stored outcome that could not be used. */
  | { readonly type: 'rejected'; readonly reason: RejectReason | 'unreadable' }
  /** The coordinator came into or went out of reach, as this collapser sees it. */
  | { readonly type: 'degraded'; readonly degraded: boolean }
  /** The way messages come in was lost or is back. */
  | { readonly type: 'hearing'; readonly listening: boolean }
  /** The coordinator's circuit breaker has changed; it begins closed. */
  | { readonly type: 'circuit'; readonly state: CircuitState };

export type BypassReason = 'too_many_flights' | 'too_many_waiters' | 'too_many_watchers' | 'key_too_long' | 'inside_batch' | 'observe';
export type Operation = 'claim' | 'renew' | 'settle' | 'release' | 'invalidate' | 'peek' | 'floor' | 'tag' | 'presence';
export type EventType = CollapserEvent['type'];
export type EventListener = (event: CollapserEvent) => void;

/** What is published on the diagnostics channels: the event, and whose it is. */
export type PublishedEvent = CollapserEvent & { readonly collapser: string };

/** Names of the `node:diagnostics_channel` channels, one per type of event: `oneflight:call`, `oneflight:load` and so on. */
export function channelName(type: EventType): string {
  return `oneflight:${type}`;
}

const CHANNELS = new Map<EventType, Channel>();

/** Tells those who listen; costs about nothing when nobody does. */
export class Events {
  readonly #collapser: string;
  readonly #listeners = new Set<EventListener>();

  constructor(collapser: string) {
    this.#collapser = collapser;
  }

  /** Listens to everything. A listener that throws is reported as a process warning; no call fails for it. */
  listen(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Whether anybody would hear an event of this type: ask before gathering what it tells. */
  areHeard(type: EventType): boolean {
    return this.#listeners.size > 0 || channelOf(type).hasSubscribers;
  }

  emit(event: CollapserEvent): void {
    if (!this.areHeard(event.type)) return;
    const published: PublishedEvent = Object.freeze({ collapser: this.#collapser, ...event });
    for (const listener of this.#listeners) this.#tell(listener, published);
    channelOf(event.type).publish(published);
  }

  #tell(listener: EventListener, event: CollapserEvent): void {
    try {
      listener(event);
    } catch (error) {
      process.emitWarning(`oneflight '${this.#collapser}': a listener failed: ${error instanceof Error ? error.stack : String(error)}`, {
        type: 'OneflightWarning',
        code: 'ONEFLIGHT_LISTENER',
      });
    }
  }
}

function channelOf(type: EventType): Channel {
  let found = CHANNELS.get(type);
  if (found === undefined) {
    found = channel(channelName(type));
    CHANNELS.set(type, found);
  }
  return found;
}
