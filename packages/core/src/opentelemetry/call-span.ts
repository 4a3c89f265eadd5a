import { context, SpanStatusCode, trace, type Span } from '@opentelemetry/api';
import type { BatchLoader } from '../batch.js';
import type { FlightId } from '../coordinator.js';
import type { RemoteLoadError } from '../errors.js';
import type { KeyPart } from '../key.js';
import type { LoadContext, Loader } from '../options.js';
import type { FlightResult } from '../waiters.js';
import type { FlightTraces } from './flight-traces.js';
import { traceparentOf } from './span-name.js';

/** The span of one call, and what it says about how the call ended. Attributes carry no key, no value, no error message. */
export class CallSpan {
  readonly #span: Span;
  readonly #traces: FlightTraces;
  #led = false;

  constructor(span: Span, traces: FlightTraces) {
    this.#span = span;
    this.#traces = traces;
  }

  /** The loader, to be run inside this span if it is this caller's that runs. */
  around<T>(loader: Loader<T>): Loader<T> {
    if (typeof loader !== 'function') return loader;
    return async (loadContext) => this.#lead([loadContext], () => loader(loadContext));
  }

  /** The batch loader, to be run inside this span for the keys that are loaded here. */
  aroundBatch<K extends KeyPart, T>(load: BatchLoader<K, T>): BatchLoader<K, T> {
    if (typeof load !== 'function') return load;
    return (keys, batch) =>
      this.#lead(
        keys.map((key) => batch.of(key)),
        () => load(keys, batch),
      );
  }

  /** Runs a load inside this span, which those that follow one of its flights then link to. */
  async #lead<R>(flights: readonly LoadContext[], load: () => R | PromiseLike<R>): Promise<R> {
    const traceparent = traceparentOf(this.#span.spanContext());
    this.#led = true;
    for (const flight of flights) {
      this.#traces.led(flight.flightId, this.#span.spanContext());
      if (traceparent !== undefined) flight.inSpan(traceparent);
    }
    try {
      return await context.with(trace.setSpan(context.active(), this.#span), load);
    } catch (error) {
      this.#traces.failed(error, this.#span.spanContext());
      throw error;
    }
  }

  answered({ source, flightId }: FlightResult<unknown>): void {
    this.ended(source);
    this.#span.setAttribute('collapse.flight_id', flightId);
    switch (source) {
      case 'leader':
        return this.#tell('leader', { 'collapse.followers': this.#traces.leaderOf(flightId)?.followers });
      case 'local':
        return this.#followed(flightId);
      case 'remote':
        return this.#followRemote(flightId, 'remote');
      case 'degraded':
      case 'bypass':
        return this.#tell('solo', { 'collapse.followers': this.#traces.leaderOf(flightId)?.followers });
      case 'linger':
      case 'cache':
      case 'stale':
        return; // Nobody's load was waited for.
    }
  }

  /** What became of a call that is no single flight. */
  ended(outcome: string): void {
    this.#span.setAttribute('collapse.outcome', outcome);
    if (this.#led) this.#span.setAttribute('collapse.role', 'leader');
  }

  failed(error: unknown, signal: AbortSignal | undefined): void {
    const type = errorType(error);
    const outcome =
      type === 'ERR_ONEFLIGHT_WAIT_TIMEOUT' ? 'timeout' : signal?.aborted === true && error === signal.reason ? 'aborted' : 'error';
    this.#span.setAttributes({ 'collapse.outcome': outcome, 'error.type': type });
    if (outcome !== 'aborted') this.#span.setStatus({ code: SpanStatusCode.ERROR });
    const leader = this.#traces.leaderOfFailure(error);
    if (this.#led) this.#tell('leader', {});
    else if (leader !== undefined) this.#follow(leader);
    else if (isRemote(error)) this.#followRemote(error.flightId, 'remote');
  }

  end(): void {
    this.#span.end();
  }

  #followed(flightId: string): void {
    const leader = this.#traces.leaderOf(flightId);
    if (leader !== undefined) this.#follow(leader.span);
    else this.#followRemote(flightId, 'local');
  }

  /** The load ran on another replica: its span is known where that replica traces too. */
  #followRemote(flightId: FlightId | undefined, scope: 'local' | 'remote'): void {
    const leader = flightId === undefined ? undefined : this.#traces.remoteLeaderOf(flightId);
    if (leader?.span !== undefined) this.#span.addLink({ context: leader.span });
    this.#tell('follower', { 'collapse.scope': scope, 'collapse.leader_flight_id': leader?.flightId });
  }

  #follow(leader: ReturnType<Span['spanContext']>): void {
    this.#span.addLink({ context: leader });
    this.#tell('follower', { 'collapse.scope': 'local' });
  }

  #tell(role: 'leader' | 'follower' | 'solo', facts: Readonly<Record<string, string | number | undefined>>): void {
    this.#span.setAttribute('collapse.role', role);
    for (const [name, value] of Object.entries(facts)) if (value !== undefined) this.#span.setAttribute(name, value);
  }
}

/** A code or a class: what an error is, never what it says. */
function errorType(error: unknown): string {
  if (typeof error !== 'object' || error === null) return typeof error;
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.name : 'object';
}

/** By its fields, because the package may be there twice. */
function isRemote(error: unknown): error is Pick<RemoteLoadError, 'remote' | 'flightId'> {
  return typeof error === 'object' && error !== null && 'remote' in error && error.remote === true && 'flightId' in error;
}
