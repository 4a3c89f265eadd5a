import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canUseApt, findOnPath, installWithApt } from './programs.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/**
 * Finds Chromium (`CHROMIUM`, or on the PATH), or installs it with apt-get on Debian as root. Resolves with the environment
 * that tells a child process where it is. Without one it says so, and the tests that need a browser are skipped.
 */
export async function findChromium(log) {
  if (!pathOfChromium() && canUseApt()) await install(log);
  const path = pathOfChromium();
  if (!path) {
    log.info('no Chromium on the PATH: tests in a browser are skipped. Install it, or name one by CHROMIUM, to run them');
    return {};
  }
  log.info(`found ${path}`);
  return { CHROMIUM: path };
}

/** Path of the browser, or undefined. */
export function pathOfChromium() {
  return process.env.CHROMIUM || findOnPath(...NAMES);
}

/** Starts the browser without a window, with a profile of its own that `close` removes. */
export async function startChromium() {
  const { chromium } = await import('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'oneflight-chromium-'));
  const remove = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  try {
    const context = await chromium.launchPersistentContext(profile, { executablePath: pathOfChromium(), headless: true, args: FLAGS });
    const close = async () => {
      await context.close();
      remove();
    };
    return { context, close };
  } catch (error) {
    remove();
    throw error;
  }
}

// Nothing of it goes anywhere but to the pages that it is told to open. The sandbox does not work for root.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function install(log) {
  log.info('no Chromium found: installing it with apt-get (as root on Debian)');
  try {
    await installWithApt(log, 'chromium');
  } catch (error) {
    log.info(error.message);
  }
}
