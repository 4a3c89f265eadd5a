import { parseArgs } from 'node:util';
import { WARM_UP } from './interleave.js';
import { SCENARIOS } from './scenarios/index.js';
import { isSystemId, systemIds, type SystemId } from './systems/index.js';

export interface BenchOptions {
  readonly scenarios: readonly string[];
  /** Only these; undefined: those that each scenario is for. */
  readonly systems: readonly SystemId[] | undefined;
  readonly quick: boolean;
  readonly json: string | undefined;
  /** Whether the page is written. */
  readonly page: boolean;
}

export type Parsed =
  | { readonly kind: 'run'; readonly options: BenchOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly message: string };

const names = [...SCENARIOS.keys()];

/** What `--node` of scripts/bench.mjs takes, beside the Node that runs it. */
export const NODES: readonly string[] = ['22', '24', '26'];

export const HELP = `npm run bench -- [--scenario NAME,…] [--system NAME,…] [--quick [--page]] [--node VERSION] [--json FILE]

Measures oneflight side by side with what a user would pick instead, interleaved in one run.

  --scenario  only these; the page keeps what earlier runs found of the others
  --system    only these systems; prints, and leaves the page alone
  --quick     few rounds, a minute per scenario at most; prints, and leaves the page alone
  --page      writes the page all the same
  --node      on that Node (${NODES.join(', ')}), which comes from the npm registry into .cache/node; else on the one that runs npm.
              It changes what is found: on 20 and 22 AsyncLocalStorage makes each promise of a process dearer, on 24 it does not
  --json      writes the results to FILE as JSON too

Each process that asks over Redis answers ${WARM_UP.bursts} bursts of ${WARM_UP.callers} callers before it is measured: what is compared is a
service that runs, not one that has just started.

Without --quick it takes about 20 minutes and writes docs/benchmarks.md with its plots.
Wants a quiet machine: nothing else should run.

Scenarios:
${[...SCENARIOS].map(([name, { what }]) => `  ${name.padEnd(14)} ${what}`).join('\n')}

Systems:
  ${systemIds().join(', ')}
`;

export function parseArguments(args: readonly string[]): Parsed {
  try {
    const list = { type: 'string' as const, multiple: true as const, default: [] };
    const flag = { type: 'boolean' as const, default: false };
    const { values } = parseArgs({
      args: [...args],
      options: { scenario: list, system: list, quick: flag, page: flag, json: { type: 'string' }, help: { ...flag, short: 'h' } },
    });
    if (values.help) return { kind: 'help' };
    const scenarios = listed('scenario', values.scenario, names);
    const systems = listed('system', values.system, systemIds()).filter(isSystemId);
    const options = {
      scenarios: scenarios.length === 0 ? names : names.filter((name) => scenarios.includes(name)),
      systems: systems.length === 0 ? undefined : systems,
      quick: values.quick,
      json: values.json,
      page: systems.length === 0 && (values.page || !values.quick),
    };
    return { kind: 'run', options };
  } catch (error) {
    return { kind: 'wrong', message: error instanceof Error ? error.message : String(error) };
  }
}

function listed(what: string, values: readonly string[], known: readonly string[]): string[] {
  const wanted = values.flatMap((value) => value.split(',')).filter(Boolean);
  const unknown = wanted.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`expected a ${what} among ${known.join(', ')}; got ${unknown.join(', ')}`);
  return wanted;
}
