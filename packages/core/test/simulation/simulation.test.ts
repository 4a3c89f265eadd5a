import { expect, it } from 'vitest';
import { simulate } from './simulation.js';

it('tries', async () => {
  const started = performance.now();
  let steps = 0;
  const bad: string[] = [];
  const from = Number(process.env['FROM'] ?? 1);
  for (let seed = from; seed < from + Number(process.env['SEEDS'] ?? 100); seed++) {
    const report = await simulate(seed);
    steps += report.steps;
    if (report.violation) bad.push(`${seed} ${report.profile} ${report.steps} ${report.violation.invariant}: ${report.violation.detail}`);
    if (process.env['TRACE']) console.log(report.trace.slice(-Number(process.env['TRACE'])).join('\n'), report.violation);
  }
  console.log(steps, 'steps', performance.now() - started, 'ms', bad.length, 'bad\n' + bad.slice(0, 60).join('\n'));
  expect(bad.length).toBe(0);
}, 600_000);
