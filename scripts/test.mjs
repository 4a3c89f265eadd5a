// `npm test`: everything, on a fresh clone of a machine with nothing but Node. `--help` names the steps.
import { parseArgs } from 'node:util';
import { findChromium } from './lib/chromium.mjs';
import { createLog, elapsed } from './lib/log.mjs';
import { installNode, otherNodes } from './lib/node-versions.mjs';
import { installPackages } from './lib/packages.mjs';
import { checkNodeVersion } from './lib/project.mjs';
import { findNginx } from './lib/nginx.mjs';
import { findPrometheus } from './lib/prometheus.mjs';
import { findRedis } from './lib/redis.mjs';
import { run } from './lib/run.mjs';
import { runVitest } from './lib/vitest.mjs';

const log = createLog();

/** Kinds of test that every supported Node version runs: those that need no server. */
const fastTests = ['test/unit/', 'test/simulation/', 'packages/core/test/contract/'];
const fastProjects = ['unit', 'simulation', 'contract'].flatMap((name) => ['--project', name]);

/** In the order they run. `build`, `redis`, `prometheus`, `nginx` and `chromium` name what a step needs before it. */
const steps = [
  { name: 'format', what: 'every file is formatted (npm run format repairs it)', run: tool('oxfmt', '--check', '.') },
  { name: 'build', what: 'packages, examples and testkit compile', run: tool('tsc', '-b') },
  // After the build: the types of other packages are those that it made.
  { name: 'lint', what: 'lint rules, with types', build: true, run: tool('oxlint', '--type-aware', '--deny-warnings') },
  { name: 'types', what: 'tests compile', run: tool('tsc', '-p', 'tsconfig.test.json') },
  { name: 'knip', what: 'no unused file, export or dependency', run: tool('knip', '--no-progress') },
  { name: 'package', what: 'what each package ships, loads and exports', build: true, run: project('package') },
  { name: 'unit', what: 'one source file each', run: project('unit') },
  { name: 'contract', what: 'what every coordinator must do', redis: true, run: project('contract') },
  { name: 'simulation', what: 'replicas under a seeded scheduler', run: project('simulation') },
  {
    name: 'integration',
    what: 'real Redis, real Express, several processes',
    build: true,
    redis: true,
    prometheus: true,
    nginx: true,
    run: project('integration'),
  },
  { name: 'browser', what: "the demo's live page in a real browser", build: true, redis: true, chromium: true, run: project('browser') },
  { name: 'fault', what: 'killed leaders, lost messages, a Redis that goes away', build: true, redis: true, run: project('fault') },
  ...Object.entries(otherNodes).map(([name, version]) => ({
    name,
    what: `unit, simulation and memory contract on Node ${version}`,
    run: onNode(name, version),
  })),
];

async function main() {
  const { only, skip, help } = options();
  if (help) return void process.stdout.write(usage());
  const selected = steps.filter((step) => (only.size === 0 || only.has(step.name)) && !skip.has(step.name));
  const startedAt = performance.now();
  const env = await prepare(selected);
  const results = await runAll(selected, env);
  process.exitCode = summarise(selected, results, startedAt);
}

async function prepare(selected) {
  checkNodeVersion();
  log.step(`install packages (Node ${process.versions.node})`);
  await installPackages(log);
  const env = {};
  if (selected.some((step) => step.redis)) {
    log.step('find Redis');
    Object.assign(env, (await findRedis(log, { ownServer: true })).env);
  }
  if (selected.some((step) => step.prometheus)) {
    log.step('find Prometheus');
    Object.assign(env, await findPrometheus(log));
  }
  if (selected.some((step) => step.nginx)) {
    log.step('find nginx');
    Object.assign(env, await findNginx(log));
  }
  if (selected.some((step) => step.chromium)) {
    log.step('find Chromium');
    Object.assign(env, await findChromium(log));
  }
  return env;
}

async function runAll(selected, env) {
  const results = [];
  const needsBuild = selected.some((step) => step.build) && !selected.some((step) => step.name === 'build');
  for (const step of needsBuild ? [steps.find(({ name }) => name === 'build'), ...selected] : selected) {
    const startedAt = performance.now();
    log.step(`${step.name}: ${step.what}`);
    const counts = await runStep(step, env);
    log.info(`${step.name} ${counts.failed === 0 ? 'passed' : 'FAILED'} in ${elapsed(startedAt)}`);
    results.push({ step, ...counts });
    if (stopped) break;
  }
  return results;
}

async function runStep(step, env) {
  try {
    return await step.run(env);
  } catch (error) {
    log.info(error.message);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

function summarise(selected, results, startedAt) {
  const failing = results.filter(({ failed }) => failed > 0);
  const sum = (field) => results.reduce((total, result) => total + result[field], 0);
  const ranTests = sum('passed') + sum('failed') > 0;
  const wantedTests = selected.some((step) => step.run.counts);
  log.step(`finished in ${elapsed(startedAt)}`);
  for (const { step } of failing) log.info(`${step.name} failed; alone: npm test -- --only ${step.name}`);
  if (wantedTests && !ranTests) log.info('no test ran');
  if (stopped) log.info('stopped by a signal before the end');
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`);
  return failing.length > 0 || stopped || (wantedTests && !ranTests) ? 1 : 0;
}

/** A step that passes when a command of node_modules/.bin exits with 0. It fails as one, and passes as no test. */
function tool(command, ...args) {
  return async () => {
    const code = await run(`node_modules/.bin/${command}`, args, { log });
    return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0 };
  };
}

/** A step that runs one vitest project and counts its tests. */
function project(name) {
  return counting((env) => runVitest(name, ['--project', name], { log, env }));
}

/** A step that runs the fast tests on another Node version. */
function onNode(name, version) {
  return counting(async () => {
    const node = await installNode(version, log);
    return runVitest(name, [...fastProjects, ...fastTests], { log, node });
  });
}

function counting(runTests) {
  return Object.assign(runTests, { counts: true });
}

function options() {
  const list = { type: 'string', multiple: true, default: [] };
  const { values } = parseArgs({ options: { only: list, skip: list, help: { type: 'boolean', short: 'h', default: false } } });
  return { only: stepNames(values.only), skip: stepNames(values.skip), help: values.help };
}

function stepNames(lists) {
  const names = lists.flatMap((list) => list.split(',')).filter(Boolean);
  const unknown = names.filter((name) => !steps.some((step) => step.name === name));
  if (unknown.length > 0) throw new Error(`expected steps among ${steps.map((step) => step.name).join(', ')}; got ${unknown.join(', ')}`);
  return new Set(names);
}

function usage() {
  const lines = steps.map((step) => `  ${step.name.padEnd(12)} ${step.what}`);
  return `npm test [-- --only STEP,…] [--skip STEP,…]\n\nInstalls what is missing, then runs these steps:\n${lines.join('\n')}\n`;
}

let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => (stopped = true));

try {
  await main();
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = 1;
}
