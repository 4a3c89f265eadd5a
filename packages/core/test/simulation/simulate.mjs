// `npm run simulate`: runs seeds of the simulation, replays one, or shows that it notices each fix that is taken out.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { MUTATIONS } from './mutations.mjs';
import { buildVariant } from './variant.mjs';

const USAGE = `npm run simulate -- [options]

  --seeds N     run seeds 1 to N (2,000)
  --from N      start at another seed
  --seed S      replay one seed and print its whole trace
  --mutations   take out one fix of the protocol at a time and look for a seed that notices, among --seeds N (2,000)
  --only NAME   with --mutations: those whose name contains NAME
  --patch FILE  change the core first, by the 'patches' of this module, as mutations.mjs writes them: to try a fix
`;
const TRACE_TAIL = 60;

async function main() {
  const options = {
    seeds: { type: 'string' },
    from: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
    patch: { type: 'string' },
  };
  const { values } = parseArgs({ options: { ...options, mutations: { type: 'boolean' }, help: { type: 'boolean' } } });
  if (values.help) return print(USAGE);
  const patches = values.patch === undefined ? [] : (await import(pathToFileURL(resolve(values.patch)).href)).patches;
  if (values.mutations) return runMutations(wholeNumber('seeds', values.seeds ?? '2000'), values.only ?? '', patches);
  const { simulate } = await import(buildVariant('main', patches));
  if (values.seed !== undefined) return replay(simulate, wholeNumber('seed', values.seed));
  return runSeeds(simulate, wholeNumber('from', values.from ?? '1'), wholeNumber('seeds', values.seeds ?? '2000'));
}

async function runSeeds(simulate, first, count) {
  const { createHash } = await import('node:crypto');
  const hash = createHash('sha256');
  const sum = { steps: 0, calls: 0, loads: 0, profiles: new Map(), faults: new Map() };
  const startedAt = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    const report = await simulate(seed);
    hash.update(report.hash);
    addUp(sum, report);
    if (report.violation !== undefined) return explain(report, TRACE_TAIL);
    if ((seed - first + 1) % 250 === 0) print(`${seed - first + 1} of ${count} seeds, ${sum.steps} steps, ${seconds(startedAt)} s\n`);
  }
  print(
    `\nseeds ${first} to ${first + count - 1} kept every invariant: ${sum.steps} steps, ${sum.calls} calls, ${sum.loads} loads, ${seconds(startedAt)} s\n`,
  );
  print(`runs: ${listed(sum.profiles)}\nfaults: ${listed(sum.faults)}\ntrace hash of all: ${hash.digest('hex').slice(0, 16)}\n`);
}

function addUp(sum, { steps, calls, loads, profile, faults }) {
  sum.steps += steps;
  sum.calls += calls;
  sum.loads += loads;
  sum.profiles.set(profile, (sum.profiles.get(profile) ?? 0) + 1);
  for (const [kind, count] of faults) sum.faults.set(kind, (sum.faults.get(kind) ?? 0) + count);
}

async function replay(simulate, seed) {
  const report = await simulate(seed);
  if (report.violation !== undefined) return explain(report, Infinity);
  print(
    `${report.trace.join('\n')}\n\nseed ${seed} (${report.profile}) kept every invariant: ${report.steps} steps, trace hash ${report.hash}\n`,
  );
}

function explain({ seed, profile, violation, trace, hash }, lines) {
  print(`${trace.slice(-lines).join('\n')}\n\nseed ${seed} (${profile}) broke '${violation.invariant}': ${violation.detail}\n`);
  print(`trace hash ${hash}; the whole trace: npm run simulate -- --seed ${seed}\n`);
  process.exitCode = 1;
}

/** How many more seeds are tried for a mutation that few runs notice. */
const RARE_TIMES = 5;

async function runMutations(seeds, only, patches) {
  let survivors = 0;
  const unchanged = buildVariant('main', patches);
  for (const mutation of MUTATIONS.filter(({ name }) => name.includes(only))) {
    const changed = buildVariant(mutation.name.replaceAll(/\W+/g, '-'), [...patches, ...mutation.patches]);
    const tried = mutation.isRare === true ? RARE_TIMES * seeds : seeds;
    const found = await firstViolation(await runOf(changed, mutation), await runOf(unchanged, mutation), tried);
    if (found === undefined) survivors++;
    print(
      found === undefined
        ? `SURVIVED ${tried} seeds: ${mutation.name}\n`
        : `seed ${found.seed}: ${mutation.name}\n    ${found.violation.invariant}: ${found.violation.detail}\n`,
    );
  }
  print(survivors === 0 ? '\neach mutation was noticed\n' : `\n${survivors} mutations were not noticed\n`);
  if (survivors > 0) process.exitCode = 1;
}

/** Some fixes are about what is stored, and are looked for there: stored.ts. */
async function runOf(simulator, { isOfStored = false }) {
  if (!isOfStored) return (await import(simulator)).simulate;
  return (await import(simulator.replace(/simulation\.js$/, 'stored.js'))).simulateStored;
}

/** A seed that breaks an invariant without the mutation too says nothing about it. */
async function firstViolation(simulate, unchanged, seeds) {
  for (let seed = 1; seed <= seeds; seed++) {
    const report = await simulate(seed);
    if (report.violation !== undefined && (await unchanged(seed)).violation === undefined) return report;
  }
  return undefined;
}

function wholeNumber(name, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`expected --${name} to be a whole number, got '${text}'`);
  return value;
}

function listed(counts) {
  return (
    [...counts]
      .sort()
      .map(([name, count]) => `${count} ${name}`)
      .join(', ') || 'none'
  );
}

function seconds(startedAt) {
  return ((performance.now() - startedAt) / 1_000).toFixed(1);
}

function print(text) {
  process.stdout.write(text);
}

process.on('unhandledRejection', (reason) => {
  print(`a promise was rejected and nobody listened: ${String(reason?.stack ?? reason)}\n`);
  process.exit(1);
});

await main();
