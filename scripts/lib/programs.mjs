import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './run.mjs';

const POLICY = '/usr/sbin/policy-rc.d';

/** Path of the first of these programs that is on the PATH, or undefined. */
export function findOnPath(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const candidates = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return candidates.find(isExecutable);
}

/** Whether a package can be installed without asking: on Debian and Ubuntu, as root. */
export function canUseApt() {
  return process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
}

/** Installs a package of Debian or Ubuntu. Its system service is not started. */
export async function installWithApt(log, name) {
  const letServicesRest = keepServicesFromStarting();
  try {
    await apt(log, ['update', '-q']);
    await apt(log, ['install', '-q', '-y', '--no-install-recommends', name]);
  } finally {
    letServicesRest();
  }
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function apt(log, args) {
  const code = await run('apt-get', args, { log, cwd: '/', env: { DEBIAN_FRONTEND: 'noninteractive' } });
  if (code !== 0) throw new Error(`apt-get ${args.join(' ')} failed with exit code ${code}`);
}

// Debian asks this script before a package may start its service; 101 says no. One that is there already is the admin's.
function keepServicesFromStarting() {
  if (existsSync(POLICY)) return () => {};
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(POLICY, { force: true });
}
