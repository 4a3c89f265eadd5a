import type { Load, Measurement } from './measure.js';

export interface Comparison {
  readonly load: Load;
  readonly without: Measurement;
  readonly with: Measurement;
}

/** The last line of `--json`. */
export function toJson({ load, without, with: collapsed }: Comparison): string {
  return JSON.stringify({
    replicas: load.replicas,
    requests: load.requests,
    keys: load.keys,
    without: onlyNumbers(without),
    with: onlyNumbers(collapsed),
  });
}

function onlyNumbers({ databaseQueries, p50Ms, p95Ms, failures }: Measurement) {
  return { databaseQueries, p50Ms, p95Ms, failures };
}

/** Both sides next to each other, for people. */
export function toTable({ load, without, with: collapsed }: Comparison): string {
  const rows = [
    ['', 'without collapsing', 'with collapsing'],
    ['requests', number(load.requests), number(load.requests)],
    ['database queries', number(without.databaseQueries), number(collapsed.databaseQueries)],
    ['p50', `${number(without.p50Ms)} ms`, `${number(collapsed.p50Ms)} ms`],
    ['p95', `${number(without.p95Ms)} ms`, `${number(collapsed.p95Ms)} ms`],
    ['failures', number(without.failures), number(collapsed.failures)],
    ['work saved', percent(1 - without.databaseQueries / load.requests), percent(1 - collapsed.databaseQueries / load.requests)],
  ];
  const lines = rows.map(([name = '', left = '', right = '']) => `  ${name.padEnd(18)}${left.padStart(20)}${right.padStart(20)}`);
  return [lines[0], `  ${'-'.repeat(58)}`, ...lines.slice(1)].join('\n');
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

/** Rounded down: 100 % is said only of all of it. */
function percent(share: number): string {
  return `${(Math.floor(1_000 * share) / 10).toFixed(1)} %`;
}
