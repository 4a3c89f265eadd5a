/** The middle of a list; the mean of both middles where there are two. NaN for an empty list. */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Linear between the neighbours, as in most tools. NaN for an empty list. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Counts of latencies in steps of a tenth of a millisecond: small enough to travel, exact enough to compare. */
export class Latencies {
  readonly #counts = new Map<number, number>();

  add(ms: number): void {
    const step = Math.round(ms * 10);
    this.#counts.set(step, (this.#counts.get(step) ?? 0) + 1);
  }

  static merge(parts: readonly LatencyCounts[]): Latencies {
    const all = new Latencies();
    for (const [step, count] of parts.flat()) all.#counts.set(step, (all.#counts.get(step) ?? 0) + count);
    return all;
  }

  counts(): LatencyCounts {
    return [...this.#counts];
  }

  get total(): number {
    return sum([...this.#counts.values()]);
  }

  /** In milliseconds. NaN where there is none. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(this.total * share));
    let seen = 0;
    for (const [step, count] of [...this.#counts].sort(([a], [b]) => a - b)) {
      seen += count;
      if (seen >= wanted) return step / 10;
    }
    return Number.NaN;
  }
}

export type LatencyCounts = readonly (readonly [step: number, count: number])[];
