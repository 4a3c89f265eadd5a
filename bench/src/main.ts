import { writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { HELP, parseArguments, type BenchOptions } from './arguments.js';
import { factsOfMachine } from './report/machine.js';
import { keep, writePage } from './report/page.js';
import { asText } from './report/text.js';
import type { Result } from './report/result.js';
import { SCENARIOS } from './scenarios/index.js';

const parsed = parseArguments(process.argv.slice(2));

switch (parsed.kind) {
  case 'help':
    console.log(HELP);
    break;
  case 'wrong':
    console.error(`${parsed.message}\n\n${HELP}`);
    process.exitCode = 2;
    break;
  case 'run':
    // Children and servers are killed by pid when this process exits, however it comes to that: a listener each.
    process.setMaxListeners(200);
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const)
      process.on(signal, () => process.exit(code));
    await run(parsed.options);
    // Whatever a measurement left behind, a stuck client say, does not keep the process.
    process.exit();
}

async function run({ scenarios, systems, quick, json, page }: BenchOptions): Promise<void> {
  const machine = await factsOfMachine();
  const results: Record<string, Result> = {};
  for (const name of scenarios) {
    const scenario = SCENARIOS.get(name);
    if (scenario === undefined) continue;
    console.log(`\n== ${name}: ${scenario.what}`);
    const startedAt = performance.now();
    const result = await scenario.run({ quick, systems, say: (text) => console.log(`   ${text}`) });
    results[name] = result;
    console.log(`${asText(result)}\n(${((performance.now() - startedAt) / 1_000).toFixed(0)} s)`);
    // After each scenario: a run that is stopped keeps what it has found.
    if (page) await keep(name, { ...result, machine, quick, load: loadavg()[0] ?? 0 });
  }
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ machine, quick, results }, null, 2)}\n`);
  if (page) console.log(`\nwrote ${await writePage()}`);
}
