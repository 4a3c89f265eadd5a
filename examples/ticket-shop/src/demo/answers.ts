import { percentile } from './percentile.js';
import type { ProxiedAnswer } from './proxy.js';

/** What the load balancer has answered since it was asked last. */
export interface Answers {
  record(answer: ProxiedAnswer): void;
  /** The answers since the last `take`; the count begins anew. */
  take(): AnswersSummary;
}

export interface AnswersSummary {
  readonly requests: number;
  readonly failures: number;
  /** Null where nothing was answered. */
  readonly latency: Latency | null;
}

export interface Latency {
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

/** More than a second of any machine; what comes on top is counted and not timed. */
const TIMED_MAX = 100_000;

export function createAnswers(): Answers {
  let requests = 0;
  let failures = 0;
  let tookMs: number[] = [];
  return {
    record(answer) {
      requests += 1;
      if (answer.failed) failures += 1;
      if (tookMs.length < TIMED_MAX) tookMs.push(answer.tookMs);
    },
    take() {
      const summary = { requests, failures, latency: latencyOf(tookMs) };
      requests = 0;
      failures = 0;
      tookMs = [];
      return summary;
    },
  };
}

function latencyOf(tookMs: readonly number[]): Latency | null {
  if (tookMs.length === 0) return null;
  const sorted = [...tookMs].sort((a, b) => a - b);
  return { p50Ms: percentile(sorted, 0.5), p95Ms: percentile(sorted, 0.95), p99Ms: percentile(sorted, 0.99) };
}
