import type { Collapser } from '../collapser.js';
import { CopyMetrics } from './copy-metrics.js';
import { eventMetrics, type EventMetrics } from './event-metrics.js';
import { LABEL_VALUES } from './labels.js';
import { Maker, type MetricsRegistry } from './maker.js';
import { Namespaces } from './namespaces.js';
import { stateGauges, type CollapserState } from './state-gauges.js';

/** All metrics of one registry and prefix, and the collapsers that they tell of. */
export class MetricSet {
  readonly metrics: EventMetrics;
  readonly exemplars: boolean;
  readonly #registry: MetricsRegistry;
  readonly #maker: Maker;
  readonly #namespaces = new Namespaces();
  readonly #copies: CopyMetrics;
  readonly #states = new Map<Collapser, CollapserState>();

  constructor(registry: MetricsRegistry, prefix: string, exemplars: boolean) {
    this.exemplars = exemplars;
    this.#registry = registry;
    this.#maker = new Maker(registry, prefix);
    this.metrics = eventMetrics(this.#maker, exemplars);
    this.#copies = new CopyMetrics(this.#maker);
    stateGauges(this.#maker, () => this.#states);
  }

  names(): readonly string[] {
    return this.#maker.names;
  }

  isRegistered(): boolean {
    const [first = ''] = this.#maker.names;
    return this.#registry.getSingleMetric(first) === this.metrics.requests;
  }

  has(collapser: Collapser): boolean {
    return this.#states.has(collapser);
  }

  /** Begins to tell of a collapser: all its series are there from now on. Returns its label. */
  add(collapser: Collapser): string {
    const namespace = this.#namespaces.labelOf(collapser.name);
    this.#states.set(collapser, { namespace, listening: true, circuit: 'closed' });
    this.#copies.add(collapser, namespace);
    zero(this.metrics, namespace);
    return namespace;
  }

  remove(collapser: Collapser): void {
    this.#states.delete(collapser);
    this.#copies.remove(collapser);
  }

  /** Notes what no `stats` tells. */
  note(collapser: Collapser, change: Partial<Pick<CollapserState, 'listening' | 'circuit'>>): void {
    const state = this.#states.get(collapser);
    if (state !== undefined) this.#states.set(collapser, { ...state, ...change });
  }
}

/** Makes every series of a namespace; those that are there stay as they are. */
function zero(metrics: EventMetrics, namespace: string): void {
  const { outcome, bypass, source, result, scope, election, detached, unshareable, operation, failure, lost, rejected } = LABEL_VALUES;
  for (const value of outcome) metrics.requests.inc({ namespace, outcome: value }, 0);
  for (const reason of bypass) metrics.bypasses.inc({ namespace, reason }, 0);
  for (const from of source) for (const value of result) metrics.executions.inc({ namespace, source: from, result: value }, 0);
  for (const value of election) metrics.elections.inc({ namespace, result: value }, 0);
  for (const reason of detached) metrics.detached.inc({ namespace, reason }, 0);
  for (const reason of unshareable) metrics.unshareable.inc({ namespace, reason }, 0);
  for (const reason of rejected) metrics.rejected.inc({ namespace, reason }, 0);
  for (const value of operation) for (const error of failure) metrics.operationErrors.inc({ namespace, operation: value, error }, 0);
  for (const value of lost) metrics.lost.inc({ namespace, operation: value }, 0);
  for (const value of scope) metrics.wait.zero({ namespace, scope: value });
  for (const value of operation) metrics.operationDuration.zero({ namespace, operation: value });
  for (const histogram of [metrics.executionDuration, metrics.followers, metrics.resultSize]) histogram.zero({ namespace });
  metrics.collapsible.inc({ namespace }, 0);
  metrics.duplicates.inc({ namespace }, 0);
}
