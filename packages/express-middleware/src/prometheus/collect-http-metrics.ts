import { checkOptions, describe, misuse, objectWith, type OptionCheck } from '@oneflight/core';
import { Counter, Gauge, type OpenMetricsContentType, register, type Registry } from 'prom-client';

import type { CollapseHandler } from '../collapse.js';
import type { CollapseStats } from '../tally.js';
import { BYPASS_REASONS, HTTP_OUTCOMES, type HttpOutcome, LEFT_WHILE, UNSERVED_REASONS, UNSHAREABLE_REASONS } from './reasons.js';

type MetricsRegistry = Registry | Registry<OpenMetricsContentType>;

export interface CollectHttpMetricsOptions {
  /** Where the metrics are registered. @default the global `register` of prom-client */
  readonly registry?: MetricsRegistry;
  /** What every metric's name begins with. @default 'oneflight_' */
  readonly prefix?: string;
}

/**
 * Shows what a `collapse()` has done since it was made, in metrics for Prometheus, until the function it returns is called:
 * that takes its gauges away and leaves its counters as they are. Several share one registry; the label `namespace` is the
 * name of their collapser, and those of one collapser are counted together. No label ever carries a URL or a key.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for a wrong option; ERR_ONEFLIGHT_METRICS where the registry has this middleware
 * already, or foreign metrics of the same names.
 */
export function collectHttpMetrics(middleware: CollapseHandler, options: CollectHttpMetricsOptions = {}): () => void {
  const expected = isMiddleware(middleware);
  if (expected !== undefined) throw misuse('ERR_ONEFLIGHT_OPTION', expected, describe(middleware));
  checkOptions('options', options, CHECKS);
  const { registry = register, prefix = 'oneflight_' } = options;
  const set = setOf(registry, prefix);
  if (set.sources.has(middleware)) {
    throw misuse('ERR_ONEFLIGHT_METRICS', 'a middleware that this registry does not collect yet', 'one that it does');
  }
  set.sources.set(middleware, () => middleware.stats());
  return () => {
    const last = middleware.stats();
    // Counters never fall. What it held is gone.
    set.sources.set(middleware, () => ({ ...last, capturing: 0, capturedBytes: 0, hitForMissKeys: 0 }));
  };
}

const isMiddleware: OptionCheck = (value) =>
  typeof value === 'function' && 'stats' in value && 'namespace' in value ? undefined : 'a middleware: collapse(…)';

const CHECKS: Readonly<Record<string, OptionCheck>> = {
  registry: objectWith('a Registry of prom-client', 'registerMetric', 'getSingleMetric'),
  prefix: (value) =>
    typeof value === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)
      ? undefined
      : 'the beginning of a metric name: letters, digits, _ and :',
};

/** The metrics of one registry and prefix, and where their values come from. */
interface HttpMetricSet {
  readonly sources: Map<CollapseHandler, () => CollapseStats>;
  readonly first: Counter;
}

const SETS = new WeakMap<MetricsRegistry, Map<string, HttpMetricSet>>();

function setOf(registry: MetricsRegistry, prefix: string): HttpMetricSet {
  const sets = SETS.get(registry) ?? new Map<string, HttpMetricSet>();
  SETS.set(registry, sets);
  const found = sets.get(prefix);
  // Somebody may have cleared the registry: then it begins anew.
  if (found !== undefined && registry.getSingleMetric(`${prefix}${FIRST}`) === found.first) return found;
  const taken = NAMES.map((name) => prefix + name).find((name) => registry.getSingleMetric(name) !== undefined);
  if (taken !== undefined) {
    throw misuse('ERR_ONEFLIGHT_METRICS', 'a registry without metrics of our names, or another options.prefix', `one that has ${taken}`);
  }
  const set = makeMetrics(registry, prefix);
  sets.set(prefix, set);
  return set;
}

type Values = Readonly<Partial<Record<string, number>>>;

/** Each counter: its help, its label beside `namespace`, and its values by that label ('' where it has none). */
interface CounterOf {
  readonly help: string;
  readonly label?: string;
  readonly values: readonly string[];
  readonly read: (stats: CollapseStats) => Values;
}

const FIRST = 'http_collapsed_total';

/** How each request ended: every request that came and waits no more is in exactly one. */
function outcomesOf(stats: CollapseStats): Record<HttpOutcome, number> {
  const { replayed, streamed, hits, handled, missing, failed, elsewhere, left } = stats;
  const stale = stats.stale - stats.staleIfError;
  return {
    ...{ handler: handled, copy: replayed - streamed - hits - stale, live: streamed, fresh: hits, stale },
    ...{ bypass: total(stats.bypassed), unserved: total(stats.unserved), missing, failed, elsewhere, left: left.waiting },
  };
}

function total(counts: Values): number {
  return Object.values(counts).reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

const COUNTERS: Readonly<Record<string, CounterOf>> = {
  [FIRST]: { help: 'Requests that asked the collapser.', values: [''], read: ({ collapsed }) => ({ '': collapsed }) },
  http_requests_total: {
    help: 'Requests by how they ended: whose own handler ran, who got a copy of another answer, and so on. Each is counted once.',
    label: 'outcome',
    values: HTTP_OUTCOMES,
    read: outcomesOf,
  },
  http_left_total: {
    help: 'Clients that went away: while their request waited, while its handler ran, or while they read the answer to another one.',
    label: 'while',
    values: LEFT_WHILE,
    read: ({ left }) => left,
  },
  http_replayed_total: {
    help: 'Requests that were answered with the answer to another one: when it was complete (also from the store), or while it was made.',
    label: 'how',
    values: ['complete', 'live'],
    read: ({ replayed, streamed }) => ({ complete: replayed - streamed, live: streamed }),
  },
  http_truncated_total: {
    help: 'Requests whose answer ended in its middle, because it broke off where it was made or its caller was too slow for it.',
    values: [''],
    read: ({ truncated }) => ({ '': truncated }),
  },
  http_store_answers_total: {
    help: 'Requests that were answered from the store, by whether the answer was fresh.',
    label: 'how',
    values: ['fresh', 'stale'],
    read: ({ hits, stale }) => ({ fresh: hits, stale }),
  },
  http_stored_total: { help: 'Answers that were kept for later requests.', values: [''], read: ({ stored }) => ({ '': stored }) },
  http_revalidated_total: {
    help: 'Stored answers that their handler found to hold still.',
    values: [''],
    read: ({ revalidated }) => ({ '': revalidated }),
  },
  http_missing_total: {
    help: 'Requests with only-if-cached for which nothing was stored.',
    values: [''],
    read: ({ missing }) => ({ '': missing }),
  },
  http_changes_total: {
    help: 'Changes after which stored answers were removed.',
    values: [''],
    read: ({ changes }) => ({ '': changes }),
  },
  http_changes_lost_total: {
    help: 'Removals of stored answers of which no other replica could be told.',
    values: [''],
    read: ({ changesLost }) => ({ '': changesLost }),
  },
  http_bypassed_total: {
    help: 'Requests that were not collapsed, by reason.',
    label: 'reason',
    values: BYPASS_REASONS,
    read: ({ bypassed }) => bypassed,
  },
  http_unshareable_total: {
    help: 'Answers that belong to their own caller alone, by reason.',
    label: 'reason',
    values: UNSHAREABLE_REASONS,
    read: ({ unshareable }) => unshareable,
  },
  http_unserved_total: {
    help: 'Requests that waited and had to run their handler all the same, by reason.',
    label: 'reason',
    values: UNSERVED_REASONS,
    read: ({ unserved }) => unserved,
  },
  http_refused_total: {
    help: 'Answers of other replicas that were malformed, too large, or for another key.',
    values: [''],
    read: ({ refused }) => ({ '': refused }),
  },
};

const GAUGES: Readonly<Record<string, { readonly help: string; readonly read: (stats: CollapseStats) => number }>> = {
  http_captures: { help: 'Answers that are being copied at the moment.', read: ({ capturing }) => capturing },
  http_captured_bytes: { help: 'Bytes of bodies that are held for others at the moment.', read: ({ capturedBytes }) => capturedBytes },
  http_hit_for_miss_keys: {
    help: 'Keys whose requests do not wait, because their answers lately could not be shared.',
    read: ({ hitForMissKeys }) => hitForMissKeys,
  },
};

const NAMES = [...Object.keys(COUNTERS), ...Object.keys(GAUGES)];

function makeMetrics(registry: MetricsRegistry, prefix: string): HttpMetricSet {
  const sources = new Map<CollapseHandler, () => CollapseStats>();
  const registers = [registry];
  const counters = Object.entries(COUNTERS).map(([name, { help, label, values, read }]) => {
    const labelNames = label === undefined ? ['namespace'] : ['namespace', label];
    const counter: Counter = new Counter({
      ...{ name: prefix + name, help, labelNames, registers },
      collect() {
        counter.reset();
        for (const [{ namespace }, stats] of sources) {
          const counts = read(stats());
          for (const value of values) counter.inc({ namespace, ...(label !== undefined && { [label]: value }) }, counts[value] ?? 0);
        }
      },
    });
    return counter;
  });
  for (const [name, { help, read }] of Object.entries(GAUGES)) {
    const gauge: Gauge = new Gauge({
      ...{ name: prefix + name, help, labelNames: ['namespace'], registers, aggregator: 'sum' },
      collect() {
        gauge.reset();
        for (const [{ namespace }, stats] of sources) gauge.inc({ namespace }, read(stats()));
      },
    });
  }
  const [first] = counters;
  if (first === undefined) throw new TypeError('expected a first counter, got none');
  return { sources, first };
}
