// `npm run screenshots`: makes docs/images anew, from the real page of the real demo. Needs what `npm run demo` needs, and Chromium.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { findChromium, startChromium } from './lib/chromium.mjs';
import { createLog } from './lib/log.mjs';
import { root } from './lib/project.mjs';
import { findRedis } from './lib/redis.mjs';
import { run } from './lib/run.mjs';

const log = createLog();
const folder = join(root, 'docs', 'images');

async function main() {
  if ((await run('node_modules/.bin/tsc', ['-b'], { log })) !== 0) throw new Error('the build failed');
  Object.assign(process.env, await findChromium(log));
  const redis = await findRedis(log, { ownServer: false });
  const demo = spawn(process.execPath, [join(root, 'examples/ticket-shop/dist/demo/main.js'), '--busy-ms', '800'], {
    env: { ...process.env, ...redis.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await photograph(await addressOf(demo));
  } finally {
    demo.kill('SIGINT');
    if (demo.exitCode === null) await once(demo, 'exit');
    await redis.stop();
  }
}

/** The page's address, once the demo serves it. */
async function addressOf(demo) {
  let said = '';
  for await (const chunk of demo.stdout) {
    process.stdout.write(chunk);
    said += chunk;
    const address = /live page is at (\S+)/.exec(said)?.[1];
    if (address) return address;
  }
  throw new Error('the demo ended before it served its page');
}

/** A minute with everything in it: visitors, a burst, a while without collapsing, a killed replica. */
async function photograph(url) {
  const { context, close } = await startChromium();
  try {
    mkdirSync(folder, { recursive: true });
    const page = await context.newPage();
    await page.setViewportSize({ width: 1200, height: 748 });
    await page.goto(url);
    await page.waitForTimeout(16_000);
    await page.click('#burst');
    const burst = page.locator('#said', { hasText: 'Burst 1:' });
    await burst.waitFor();
    if (!(await burst.textContent()).includes(' 1 database query'))
      throw new Error('this machine is too busy for pictures: the burst was none');
    await page.waitForTimeout(6_000);
    await page.click('#collapse');
    await page.waitForTimeout(8_000);
    await page.click('#collapse');
    await page.waitForTimeout(14_000);
    await page.getByRole('button', { name: 'Kill replica 2' }).click();
    await page.locator('.replica[data-state=gone]').waitFor();
    await page.mouse.move(0, 0);
    await page.locator('#collapse').blur();
    await page.evaluate('scrollTo(0, 0)');
    await shoot(page, 'live-page');
    await page.emulateMedia({ colorScheme: 'dark' });
    await shoot(page, 'live-page-dark', { fullPage: true });
    await page.setViewportSize({ width: 375, height: 740 });
    await page.evaluate('scrollTo(0, 0)');
    await shoot(page, 'live-page-phone');
  } finally {
    await close();
  }
}

async function shoot(page, name, options = {}) {
  await page.waitForTimeout(500); // the charts take their new size and colours
  await page.screenshot({ path: join(folder, `${name}.png`), ...options });
  log.info(`docs/images/${name}.png`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = 1;
}
