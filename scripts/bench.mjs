// `npm run bench`: the benchmarks on a fresh clone, with nothing but Node. Its arguments go to the bench itself.
// `npm run freshness`: what calls pay that ask for more than a load that runs.
// `npm run soak`: what millions of flights leave in memory.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createLog } from './lib/log.mjs';
import { installPackages } from './lib/packages.mjs';
import { checkNodeVersion, root } from './lib/project.mjs';
import { findRedis } from './lib/redis.mjs';
import { run } from './lib/run.mjs';

async function main([what, ...args]) {
  const entry = join(root, 'bench', 'dist', `${what}.js`);
  const log = createLog();
  checkNodeVersion();
  log.step('install packages');
  await installPackages(log);
  log.step('build');
  if ((await run('node_modules/.bin/tsc', ['-b'], { log })) !== 0) throw new Error('the build failed');
  if (!existsSync(entry)) throw new Error(`the build made no ${entry}`);
  log.step('find Redis');
  const redis = await findRedis(log, { ownServer: true });
  return stopped ? 130 : await run(process.execPath, [entry, ...args], { env: redis.env, limitMs: Infinity });
}

let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => (stopped = true));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = 1;
}
