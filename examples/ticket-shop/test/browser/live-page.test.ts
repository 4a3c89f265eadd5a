import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { pathOfChromium, startChromium } from '../../../../scripts/lib/chromium.mjs';

const main = fileURLToPath(new URL('../../dist/demo/main.js', import.meta.url));
const REQUESTS = 100;

const missing = pathOfChromium() === undefined;
const because = missing ? ' (skipped: there is no chromium on the PATH and CHROMIUM names none)' : '';

describe.skipIf(missing)(`the live page${because}`, () => {
  let demo: ChildProcess;
  let browser: Awaited<ReturnType<typeof startChromium>>;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    const started = await startDemo();
    demo = started.demo;
    browser = await startChromium();
    page = await browser.context.newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    page.on('response', (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`));
    page.on('request', (request) => request.url().startsWith(started.url) || complaints.push(`leaves for ${request.url()}`));
    await page.goto(started.url);
  });

  afterAll(async () => {
    await browser?.close();
    demo?.kill('SIGINT');
    if (demo?.exitCode === null) await once(demo, 'exit');
  });

  beforeEach(async () => {
    await eventually(() => page.locator('#state').textContent()).toBe('Live');
  });

  it('shows the replicas and the visitors of the shop, and complains of nothing', async () => {
    await eventually(() => states()).toEqual(['Running', 'Running', 'Running', 'Running']);
    await eventually(() => numberIn('#requests')).toBeGreaterThan(100);
    expect(await numberIn('#queries')).toBeLessThan(await numberIn('#requests'));
    expect(await page.locator('#load-chart canvas').count()).toBe(1);
    expect(await page.locator('#load-chart').getAttribute('aria-label')).toMatch(/\d requests and \d+ database queries/);
    expect(complaints).toEqual([]);
  });

  it('fires a burst and announces what it cost: one query, as the server has counted', async () => {
    const said = await burst();
    expect(said).toContain(`${REQUESTS} requests, 1 database query, 0 failures`);
    expect(await status()).toMatchObject({ lastBurst: { requests: REQUESTS, databaseQueries: 1, failures: 0 } });
    expect(await page.locator('#burst-rows tr').last().locator('td').allTextContents()).toEqual(await lastBurstInWords());
  });

  it('switches collapsing off by keyboard, and each request queries; on again, and one does', async () => {
    const collapsing = page.getByRole('switch', { name: 'Collapsing' });
    await collapsing.focus();
    await page.keyboard.press('Space');
    await eventually(() => collapsing.getAttribute('aria-checked')).toBe('false');
    expect(await burst()).toContain(`${REQUESTS} requests, ${REQUESTS} database queries, 0 failures`);
    await collapsing.focus();
    await page.keyboard.press('Enter');
    await eventually(() => collapsing.getAttribute('aria-checked')).toBe('true');
    expect(await burst()).toContain(`${REQUESTS} requests, 1 database query, 0 failures`);
  });

  it('shows that a killed replica is gone and then back, while bursts are answered without a failure', async () => {
    const card = page.locator('.replica').nth(1);
    const before = await processOf(card);
    await page.getByRole('button', { name: 'Kill replica 2' }).click();
    await eventually(() => card.locator('.state').textContent()).toBe('Gone');
    await eventually(async () => isAlive(before)).toBe(false);
    expect(await burst()).toMatch(/ 0 failures/);
    await eventually(() => card.locator('.state').textContent()).toBe('Running');
    expect(await processOf(card)).not.toBe(before);
    expect(await burst()).toMatch(/ 0 failures/);
    expect(await numberIn('#failures')).toBe(0);
  });

  it.each(['light', 'dark'] as const)('has nothing that axe finds wrong, in %s colours and on a phone', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.locator('#minute').evaluate((details) => details.setAttribute('open', ''));
    for (const width of [1200, 375]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await violations()).toEqual([]);
      const overflow = await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
      expect(overflow).toBe(0);
    }
  });

  it('says so when the demo has ended, and has complained of nothing before', async () => {
    expect(complaints).toEqual([]);
    demo.kill('SIGINT');
    await eventually(() => page.locator('#state').textContent()).toBe('No answer from the demo');
  });

  /** Fires one burst and returns its announcement. */
  async function burst(): Promise<string> {
    const button = page.locator('#burst');
    await eventually(() => button.getAttribute('aria-disabled')).toBe('false');
    const number = ((await status()).lastBurst?.number ?? 0) + 1;
    await button.click();
    await page.locator('#said', { hasText: `Burst ${number}:` }).waitFor({ timeout: 30_000 });
    return (await page.locator('#said').textContent()) ?? '';
  }

  async function status(): Promise<{ lastBurst: { number: number; p50Ms: number; p95Ms: number; p99Ms: number } | null }> {
    return (await fetch(new URL('/demo/status', page.url()))).json() as ReturnType<typeof status>;
  }

  async function lastBurstInWords(): Promise<string[]> {
    const { lastBurst } = await status();
    const latencies = [lastBurst?.p50Ms, lastBurst?.p95Ms, lastBurst?.p99Ms].map((ms) => `${ms?.toLocaleString('en-US')} ms`);
    return [String(REQUESTS), '1', ...latencies, '0'];
  }

  function states(): Promise<string[]> {
    return page.locator('.replica .state').allTextContents();
  }

  async function numberIn(selector: string): Promise<number> {
    return Number((await page.locator(selector).textContent())?.replaceAll(',', ''));
  }

  /** What axe finds wrong, of whatever weight. */
  async function violations(): Promise<string[]> {
    await page.evaluate(axe.source);
    const found = await page.evaluate<AxeViolation[]>('axe.run().then(({ violations }) => JSON.parse(JSON.stringify(violations)))');
    return found.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
  }
});

interface AxeViolation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly target: readonly string[] }[];
}

/** The machine may be busy; nothing here depends on how soon. */
function eventually<T>(value: () => Promise<T>) {
  return expect.poll(value, { timeout: 30_000 });
}

async function processOf(card: ReturnType<Page['locator']>): Promise<number> {
  return Number(await card.locator('dd').last().textContent());
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function startDemo(): Promise<{ demo: ChildProcess; url: string }> {
  if (!existsSync(main)) throw new Error('the demo is not built: run `npx tsc -b` first');
  const env = { ...process.env, DATABASE_URL: '', REDIS_URL: '' };
  const demo = spawn(process.execPath, [main, '--requests', String(REQUESTS), '--busy-ms', '1000'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let said = '';
    demo.stdout.on('data', (chunk: Buffer) => {
      const found = /live page is at (\S+)/.exec((said += chunk.toString()))?.[1];
      if (found !== undefined) resolve(found);
    });
    demo.once('exit', () => reject(new Error('the demo ended before it served its page')));
  });
  return { demo, url };
}
