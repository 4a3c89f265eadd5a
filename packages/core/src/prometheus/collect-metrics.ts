import { register, Registry } from 'prom-client';
import { checkOptions, objectWith, oneOf, type OptionCheck } from '../check-options.js';
import type { Collapser } from '../collapser.js';
import { describe, misuse } from '../errors.js';
import { openTelemetryTrace } from './exemplars.js';
import type { MetricsRegistry } from './maker.js';
import { MetricSet } from './metric-set.js';
import { Recorder } from './recorder.js';

export interface CollectMetricsOptions {
  /** Where the metrics are registered. @default the global `register` of prom-client */
  readonly registry?: MetricsRegistry;
  /** What every metric's name begins with. The dashboards and alerts that ship expect the default. @default 'oneflight_' */
  readonly prefix?: string;
  /**
   * Attaches the trace id of the caller that led to the time its load took, where that trace is sampled. Needs a registry
   * of type OpenMetrics and @opentelemetry/api. @default false
   */
  readonly exemplars?: boolean;
}

/**
 * Counts what a collapser does, in metrics for Prometheus, from now on until the function it returns is called; that takes
 * the collapser's gauges away and leaves its counters as they are. Several collapsers share one registry; each is told
 * apart by the label `namespace`, its name. From the 51st name on the label is `other`. No label ever carries a key.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for a wrong option; ERR_ONEFLIGHT_METRICS where the registry has this collapser
 * already, has foreign metrics of the same names, or cannot hold exemplars.
 */
export function collectMetrics(collapser: Collapser, options: CollectMetricsOptions = {}): () => void {
  const expected = CHECKS.collapser(collapser);
  if (expected !== undefined) throw misuse('ERR_ONEFLIGHT_OPTION', expected, describe(collapser));
  checkOptions('options', options, CHECKS.options);
  const { registry = register, prefix = 'oneflight_', exemplars = false } = options;
  const sets = setsOf(registry);
  for (const set of sets.values()) {
    if (set.has(collapser))
      throw misuse('ERR_ONEFLIGHT_METRICS', 'a collapser that this registry does not collect yet', 'one that it does');
  }
  const set = sets.get(prefix) ?? createSet(registry, prefix, exemplars);
  if (set.exemplars !== exemplars) throw mixedExemplars(set.exemplars);
  sets.set(prefix, set);
  const namespace = set.add(collapser);
  const recorder = new Recorder(set, collapser, namespace, exemplars ? openTelemetryTrace() : undefined);
  const stopListening = collapser.listen((event) => recorder.record(event));
  return () => {
    stopListening();
    set.remove(collapser);
  };
}

const isPrefix: OptionCheck = (value) =>
  typeof value === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)
    ? undefined
    : 'the beginning of a metric name: letters, digits, _ and :';

const CHECKS = {
  collapser: objectWith('a collapser', 'listen', 'stats'),
  options: {
    registry: objectWith('a Registry of prom-client', 'registerMetric', 'getSingleMetric'),
    prefix: isPrefix,
    exemplars: oneOf(true, false),
  },
};

/** What each registry holds, by prefix. */
const SETS = new WeakMap<MetricsRegistry, Map<string, MetricSet>>();

function setsOf(registry: MetricsRegistry): Map<string, MetricSet> {
  const sets = SETS.get(registry) ?? new Map<string, MetricSet>();
  SETS.set(registry, sets);
  // Somebody may have cleared the registry: what it does not show any more is not collected any more.
  for (const [prefix, set] of sets) if (!set.isRegistered()) sets.delete(prefix);
  return sets;
}

function createSet(registry: MetricsRegistry, prefix: string, exemplars: boolean): MetricSet {
  if (exemplars && !registry.contentType.startsWith('application/openmetrics-text')) {
    throw misuse(
      'ERR_ONEFLIGHT_METRICS',
      'a registry of type OpenMetrics for options.exemplars: registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)',
      'one of type Prometheus',
    );
  }
  if (exemplars) openTelemetryTrace();
  // What would be registered is learned from a registry of its own, so that a refusal leaves nothing behind in this one.
  const names = new MetricSet(new Registry(), prefix, false).names();
  const taken = names.find((name) => registry.getSingleMetric(name) !== undefined);
  if (taken !== undefined) {
    throw misuse('ERR_ONEFLIGHT_METRICS', 'a registry without metrics of our names, or another options.prefix', `one that has ${taken}`);
  }
  return new MetricSet(registry, prefix, exemplars);
}

function mixedExemplars(first: boolean): TypeError {
  return misuse(
    'ERR_ONEFLIGHT_METRICS',
    `options.exemplars to be ${first}, as for the collapsers that this registry has already`,
    String(!first),
  );
}
