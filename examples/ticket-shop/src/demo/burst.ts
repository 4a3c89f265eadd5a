import type { Child } from './child.js';

/** What the load generator is asked to do: one request per entry of `requests`, which indexes `targets`. */
export interface BurstOrder {
  readonly port: number;
  readonly requests: readonly number[];
  readonly targets: readonly Target[];
}

export interface Target {
  readonly path: string;
  /** The only right body; absent: any. */
  readonly expected?: string;
}

export interface BurstReport {
  readonly latenciesMs: readonly number[];
  readonly durationMs: number;
  /** How many requests failed, by reason. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Lets the load generator fire one burst, and waits for its last answer. */
export async function fireBurst(generator: Child, order: BurstOrder): Promise<BurstReport> {
  const fired = generator.next('fired');
  generator.send({ kind: 'fire', ...order });
  const { report } = await fired;
  if (!isReport(report)) throw new Error('expected a report from the load generator, got something else');
  return report;
}

function isReport(value: unknown): value is BurstReport {
  return typeof value === 'object' && value !== null && 'latenciesMs' in value && 'durationMs' in value && 'failures' in value;
}

/** Spreads the requests over the targets in runs as long as there are replicas, so that each replica is asked for each target. */
export function spread(requests: number, targets: number, replicas: number): number[] {
  return Array.from({ length: requests }, (_, index) => Math.floor(index / replicas) % targets);
}
