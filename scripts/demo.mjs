// `npm run demo`: the ticket shop on a fresh clone, with nothing but Node. Its arguments go to the demo itself.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createLog } from './lib/log.mjs';
import { installPackages } from './lib/packages.mjs';
import { checkNodeVersion, root } from './lib/project.mjs';
import { findRedis } from './lib/redis.mjs';
import { run } from './lib/run.mjs';

const entry = join(root, 'examples', 'ticket-shop', 'dist', 'demo', 'main.js');

async function main(args) {
  // Whoever asks for JSON reads stdout; everything that is not the demo's own output stays out of it.
  const log = createLog(args.includes('--json') ? process.stderr : process.stdout);
  checkNodeVersion();
  log.step('install packages');
  await installPackages(log);
  log.step('build');
  if ((await run('node_modules/.bin/tsc', ['-b'], { log })) !== 0) throw new Error('the build failed');
  if (!existsSync(entry)) throw new Error('the build made no examples/ticket-shop/dist/demo/main.js');
  log.step('find Redis');
  const redis = await findRedis(log, { ownServer: false });
  try {
    return stopped ? 130 : await run(process.execPath, [entry, ...args], { env: redis.env, limitMs: Infinity });
  } finally {
    await redis.stop();
  }
}

let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => (stopped = true));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = 1;
}
