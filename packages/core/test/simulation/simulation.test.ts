import { describe, expect, it } from 'vitest';
import { REGRESSION_SEEDS } from './regression-seeds.js';
import { simulate, type Report } from './simulation.js';

/*
 * Replicas of the real core on simulated time, over a network and a server that a seed lets go wrong. The checks are in
 * checks.ts. More seeds, a replay of one, and the mutations: npm run simulate -- --help.
 */
const SEEDS = 2_000;
const TRACE_TAIL = 40;

describe('a seeded run', () => {
  it(`keeps every promise, in each of ${SEEDS} seeds`, async () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const report = await simulate(seed);
      expect(report.violation, explain(report)).toBeUndefined();
      seen.add(report.profile);
      for (const fault of report.faults.keys()) seen.add(fault);
    }
    expect([...seen].sort()).toEqual(expect.arrayContaining(EVERYTHING));
  });

  for (const { seed, why } of REGRESSION_SEEDS) {
    it(`keeps every promise in seed ${seed}, where ${why}`, async () => {
      const report = await simulate(seed);
      expect(report.violation, explain(report)).toBeUndefined();
    });
  }

  it('is the same each time, and another one for another seed', async () => {
    const hashes = async (): Promise<string[]> => {
      const found: string[] = [];
      for (let seed = 1; seed <= 50; seed++) found.push((await simulate(seed)).hash);
      return found;
    };
    const first = await hashes();
    expect(await hashes()).toEqual(first);
    expect(new Set(first).size).toBe(50);
  });
});

/** Seeds that leave one of these out would test less than they say. */
const EVERYTHING = [
  ...['calm', 'single', 'storm', 'crash', 'pause', 'deaf', 'cut', 'outage', 'rollback', 'wipe'],
  ...['request', 'reply', 'message'].flatMap((leg) => [`lose ${leg}`, `duplicate ${leg}`, `delay ${leg}`]),
];

function explain({ seed, violation, trace }: Report): string {
  if (violation === undefined) return '';
  const tail = trace.slice(-TRACE_TAIL).join('\n');
  return `seed ${seed} broke '${violation.invariant}': ${violation.detail}\n${tail}\nThe whole trace: npm run simulate -- --seed ${seed}`;
}
