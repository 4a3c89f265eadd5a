import type { Burst, Second } from '../src/demo/status.js';

export function number(value: number): string {
  return value.toLocaleString('en-US');
}

export function counted(count: number, one: string, many: string): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export function milliseconds(value: number | undefined): string {
  return value === undefined ? '–' : `${number(value)} ms`;
}

/** 1 - executions / requests, rounded down: 100 % is said only of all of it. */
export function workSaved(requests: number, databaseQueries: number): string {
  if (requests === 0) return '–';
  return `${(Math.floor(1_000 * Math.max(0, 1 - databaseQueries / requests)) / 10).toFixed(1)} %`;
}

export function burstSaid(burst: Burst): string {
  const cost = `${counted(burst.requests, 'request', 'requests')}, ${counted(burst.databaseQueries, 'database query', 'database queries')}`;
  return `Burst ${burst.number}: ${cost}, ${counted(burst.failures, 'failure', 'failures')}. p95 ${milliseconds(burst.p95Ms)}.`;
}

/** What the charts show, for those who do not see them. */
export function loadSaid(seconds: readonly Second[]): string {
  const last = seconds.at(-1);
  if (last === undefined) return 'Nothing was measured yet.';
  const highest = Math.max(...seconds.map(({ requests }) => requests));
  return `Line chart of the last minute: ${number(last.requests)} requests and ${number(last.databaseQueries)} database queries in the last second; at most ${number(highest)} requests in a second.`;
}

export function latencySaid(seconds: readonly Second[]): string {
  const latency = seconds.findLast((second) => second.latency !== null)?.latency;
  if (latency === undefined || latency === null) return 'Nothing was measured yet.';
  return `Line chart of the last minute: latency last was ${milliseconds(latency.p50Ms)} at p50, ${milliseconds(latency.p95Ms)} at p95 and ${milliseconds(latency.p99Ms)} at p99.`;
}
