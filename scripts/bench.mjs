// `npm run bench`: the benchmarks on a fresh clone, with nothing but Node. Its arguments go to the bench itself.
// `npm run freshness`: what calls pay that ask for more than a load that runs.
// `npm run soak`: what millions of flights leave in memory.
// `npm run flight-cost`: what a flight over Redis costs a process, and where it goes.
// With `--node 24` (or 22, 26) on that Node, which is installed into .cache/node.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createLog } from './lib/log.mjs';
import { installNode, otherNodes } from './lib/node-versions.mjs';
import { installPackages } from './lib/packages.mjs';
import { checkNodeVersion, root } from './lib/project.mjs';
import { findRedis } from './lib/redis.mjs';
import { run } from './lib/run.mjs';

async function main([what, ...given]) {
  const { node, args } = withoutNode(given);
  const entry = join(root, 'bench', 'dist', `${what}.js`);
  const log = createLog();
  checkNodeVersion();
  log.step('install packages');
  await installPackages(log);
  log.step('build');
  if ((await run('node_modules/.bin/tsc', ['-b'], { log })) !== 0) throw new Error('the build failed');
  if (!existsSync(entry)) throw new Error(`the build made no ${entry}`);
  const binary = node === undefined ? process.execPath : await installNode(node, log);
  log.step('find Redis');
  const redis = await findRedis(log, { ownServer: true });
  return stopped ? 130 : await run(binary, [entry, ...args], { env: redis.env, limitMs: Infinity });
}

/** The arguments that are for the bench, and the version that `--node` names by its first number. */
function withoutNode(given) {
  const at = given.findIndex((arg) => arg === '--node' || arg.startsWith('--node='));
  if (at === -1) return { node: undefined, args: given };
  const [, inline] = given[at].split('=');
  const node = otherNodes[`node${inline ?? given[at + 1]}`];
  const known = Object.keys(otherNodes).map((name) => name.replace('node', ''));
  if (node === undefined) throw new Error(`expected --node with one of ${known.join(', ')}; got ${inline ?? given[at + 1]}`);
  return { node, args: given.toSpliced(at, inline === undefined ? 2 : 1) };
}

let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => (stopped = true));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = 1;
}
