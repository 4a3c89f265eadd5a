import { Counter, Gauge, Histogram, type Aggregator, type OpenMetricsContentType, type Registry } from 'prom-client';

export type MetricsRegistry = Registry | Registry<OpenMetricsContentType>;

/** Adds to a counter's value for a combination of labels. */
export type AddCounter<L extends string> = (labels: Readonly<Record<L, string>>, value: number) => void;

/** Sets the gauge's value for a combination of labels. */
export type SetGauge<L extends string> = (labels: Readonly<Record<L, string>>, value: number) => void;

/** Makes metrics of one registry and prefix, and knows their names. */
export class Maker {
  readonly names: string[] = [];
  readonly #registry: MetricsRegistry;
  readonly #prefix: string;

  constructor(registry: MetricsRegistry, prefix: string) {
    this.#registry = registry;
    this.#prefix = prefix;
  }

  counter<const L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> {
    return new Counter({ ...this.#base(name, help), labelNames });
  }

  /** A counter that is read when the metrics are, from what never falls. */
  readCounter<const L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    read: (add: AddCounter<L>) => void,
  ): Counter<L> {
    const counter: Counter<L> = new Counter<L>({
      ...this.#base(name, help),
      labelNames,
      collect() {
        counter.reset();
        read((labels, value) => counter.inc(labels, value));
      },
    });
    return counter;
  }

  histogram<const L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: readonly number[],
    enableExemplars = false,
  ): Histogram<L> {
    return new Histogram({ ...this.#base(name, help), labelNames, buckets: [...buckets], enableExemplars });
  }

  /** A gauge that is read when the metrics are. `aggregator`: how the values of the workers of a cluster become one. */
  gauge<const L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    aggregator: Aggregator,
    read: (set: SetGauge<L>) => void,
  ): Gauge<L> {
    const gauge: Gauge<L> = new Gauge<L>({
      ...this.#base(name, help),
      labelNames,
      aggregator,
      collect() {
        gauge.reset();
        read((labels, value) => gauge.set(labels, value));
      },
    });
    return gauge;
  }

  #base(name: string, help: string) {
    const full = this.#prefix + name;
    this.names.push(full);
    return { name: full, help, registers: [this.#registry] };
  }
}
