import { expect, it } from 'vitest';
import { simulateStored } from './stored.js';

const SEEDS = 600;

it(`keeps every promise of what is stored, in each of ${SEEDS} seeds`, async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const report = await simulateStored(seed);
    const told = `seed ${seed}: ${report.violation?.detail}\n${report.trace.slice(-40).join('\n')}`;
    expect(report.violation?.invariant, told).toBeUndefined();
    for (const what of report.seen) seen.add(what);
  }
  expect([...seen]).toEqual(expect.arrayContaining(EVERYTHING));
});

/** Seeds that leave one of these out would test less than they say. */
const EVERYTHING = [
  ...['leader', 'local', 'remote', 'cache', 'linger', 'stale', 'degraded', 'stored error'],
  ...['deaf', 'outage', 'crash', 'lose request', 'lose reply', 'lose message'],
];
