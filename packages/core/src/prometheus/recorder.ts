import type { Collapser } from '../collapser.js';
import type { CollapserEvent } from '../events.js';
import type { EventMetrics } from './event-metrics.js';
import type { TraceLabels } from './exemplars.js';
import type { MetricSet } from './metric-set.js';

type Event<T extends CollapserEvent['type']> = Extract<CollapserEvent, { type: T }>;

/** What gauges show: something has changed, and stays so until the next one. */
type StateEvent = Event<'hearing' | 'circuit' | 'degraded'>;

/** Adds what one collapser tells to the metrics. */
export class Recorder {
  readonly #set: MetricSet;
  readonly #metrics: EventMetrics;
  readonly #collapser: Collapser;
  readonly #namespace: string;
  readonly #trace: (() => TraceLabels | undefined) | undefined;

  constructor(set: MetricSet, collapser: Collapser, namespace: string, trace: (() => TraceLabels | undefined) | undefined) {
    this.#set = set;
    this.#metrics = set.metrics;
    this.#collapser = collapser;
    this.#namespace = namespace;
    this.#trace = trace;
  }

  record(event: CollapserEvent): void {
    const namespace = this.#namespace;
    if (isState(event)) return this.#state(event);
    switch (event.type) {
      case 'call':
        return this.#call(event);
      case 'load':
        return this.#load(event);
      case 'operation':
        return this.#operation(event);
      case 'bypass':
        return this.#metrics.bypasses.inc({ namespace, reason: event.reason });
      case 'collapsible':
        return this.#metrics.collapsible.inc({ namespace });
      case 'election':
        return this.#metrics.elections.inc({ namespace, result: event.result });
      case 'detached':
        return this.#metrics.detached.inc({ namespace, reason: event.why });
      case 'duplicate':
        return this.#metrics.duplicates.inc({ namespace });
      case 'unshareable':
        return this.#metrics.unshareable.inc({ namespace, reason: event.why });
      case 'settle':
        return this.#settle(event);
      case 'lost':
        return this.#metrics.lost.inc({ namespace, operation: event.what });
      case 'rejected':
        return this.#metrics.rejected.inc({ namespace, reason: event.reason });
      case 'received':
        return; // It is counted by the calls that it answers.
    }
  }

  #state(event: StateEvent): void {
    switch (event.type) {
      case 'hearing':
        return this.#set.note(this.#collapser, { listening: event.listening });
      case 'circuit':
        return this.#set.note(this.#collapser, { circuit: event.state });
      case 'degraded':
        return; // The gauge is read from stats.
    }
  }

  #call({ outcome, waitedMs }: Event<'call'>): void {
    const namespace = this.#namespace;
    this.#metrics.requests.inc({ namespace, outcome });
    if (outcome === 'local' || outcome === 'remote') this.#metrics.wait.observe({ namespace, scope: outcome }, waitedMs / 1_000);
  }

  #load({ source, result, durationMs, followers }: Event<'load'>): void {
    const namespace = this.#namespace;
    this.#metrics.executions.inc({ namespace, source, result });
    // A load that is not collapsed has no followers: it would only hide how many the others have.
    if (source !== 'bypass') this.#metrics.followers.observe({ namespace }, followers);
    const exemplarLabels = this.#trace?.();
    if (this.#trace === undefined) this.#metrics.executionDuration.observe({ namespace }, durationMs / 1_000);
    else
      this.#metrics.executionDuration.observe({
        labels: { namespace },
        value: durationMs / 1_000,
        ...(exemplarLabels && { exemplarLabels }),
      });
  }

  #settle({ bytes }: Event<'settle'>): void {
    // 0: not the size of a result but the news that there is none to share.
    if (bytes > 0) this.#metrics.resultSize.observe({ namespace: this.#namespace }, bytes);
  }

  #operation({ operation, durationMs, error }: Event<'operation'>): void {
    const namespace = this.#namespace;
    this.#metrics.operationDuration.observe({ namespace, operation }, durationMs / 1_000);
    if (error !== undefined) this.#metrics.operationErrors.inc({ namespace, operation, error });
  }
}

function isState(event: CollapserEvent): event is StateEvent {
  return event.type === 'hearing' || event.type === 'circuit' || event.type === 'degraded';
}
