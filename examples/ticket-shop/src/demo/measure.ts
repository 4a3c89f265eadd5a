import type { CollapseMode } from '../server/collapsing.js';
import { BLOCKS_PER_MATCH } from '../server/schema.js';
import { type BurstReport, fireBurst, spread, type Target } from './burst.js';
import type { Child } from './child.js';
import type { Database } from './database.js';
import { percentile } from './percentile.js';
import type { Replicas } from './replicas.js';

/** Everything a burst needs. */
export interface Stage {
  readonly generator: Child;
  readonly replicas: Replicas;
  readonly database: Database;
  readonly proxyPort: number;
  readonly load: Load;
}

export interface Load {
  readonly requests: number;
  readonly keys: number;
  readonly replicas: number;
}

export interface Measurement {
  readonly databaseQueries: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

/**
 * Opens all connections, then finds out how long this machine needs to deliver the burst.
 * @returns the time of a burst that asks nothing of the database, in milliseconds
 */
export async function warmUp(stage: Stage): Promise<number> {
  let deliveryMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < WARM_UPS; round++) {
    const { durationMs, failures } = await fire(stage, [{ path: '/healthz' }]);
    if (Object.keys(failures).length > 0) throw new Error(`the shop does not answer: ${describeFailures(failures)}`);
    deliveryMs = Math.min(deliveryMs, durationMs);
  }
  return deliveryMs;
}

/** The first opens the connections; the others let each process compile what the burst will run. */
const WARM_UPS = 4;

export interface BurstSetting {
  readonly collapse: CollapseMode;
  readonly busyMs: number;
  /** Compare each body with what the database says; costs one seat query per key, which is not counted. */
  readonly verify: boolean;
}

/** Fires one burst at cold keys and lets PostgreSQL count what it cost. */
export async function measure(stage: Stage, { collapse, busyMs, verify }: BurstSetting): Promise<Measurement & { reasons: string }> {
  await stage.replicas.configure({ collapse, busyMs });
  const targets = await Promise.all(blocks(stage.load.keys).map((block) => seatsOf(block, verify ? stage.database : undefined)));
  const before = await stage.database.seatQueries();
  const report = await fire(stage, targets);
  const databaseQueries = (await stage.database.seatQueries()) - before;
  return { databaseQueries, ...summarize(report), reasons: describeFailures(report.failures) };
}

function fire({ generator, proxyPort, load }: Stage, targets: readonly Target[]): Promise<BurstReport> {
  return fireBurst(generator, { port: proxyPort, requests: spread(load.requests, targets.length, load.replicas), targets });
}

/** The first blocks of the shop, in the order of their ids. */
export function blocks(count: number): { matchId: number; blockId: number }[] {
  return Array.from({ length: count }, (_, index) => ({ matchId: 1 + Math.floor(index / BLOCKS_PER_MATCH), blockId: index + 1 }));
}

export async function seatsOf(block: { matchId: number; blockId: number }, database?: Database): Promise<Target> {
  const path = `/api/matches/${block.matchId}/blocks/${block.blockId}/seats`;
  return database === undefined ? { path } : { path, expected: await database.expectedBody(block) };
}

function summarize({ latenciesMs, failures }: BurstReport): Omit<Measurement, 'databaseQueries'> {
  const sorted = [...latenciesMs].sort((a, b) => a - b);
  return {
    p50Ms: percentile(sorted, 0.5),
    p95Ms: percentile(sorted, 0.95),
    p99Ms: percentile(sorted, 0.99),
    failures: Object.values(failures).reduce((sum, count) => sum + count, 0),
  };
}

function describeFailures(failures: Readonly<Record<string, number>>): string {
  return Object.entries(failures)
    .map(([reason, count]) => `${count} x ${reason}`)
    .join(', ');
}
