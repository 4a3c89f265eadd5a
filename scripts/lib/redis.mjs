import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, run } from './run.mjs';

const POLICY = '/usr/sbin/policy-rc.d';

/**
 * Finds a Redis, or installs one where that is possible without asking. In this order: `REDIS_URL` (unless the caller
 * needs a server of its own, to stop and to kill); a server binary on the PATH; Docker, if an engine answers; apt-get on
 * Debian and Ubuntu as root. Starts nothing.
 *
 * Resolves with `{ kind: 'url', url }`, `{ kind: 'binary', path }` or `{ kind: 'docker' }`; rejects with what to do.
 */
export async function findRedis(log, { ownServer }) {
  const url = process.env.REDIS_URL;
  if (url && !ownServer) {
    log.info(`REDIS_URL is set: using ${withoutPassword(url)}`);
    return { kind: 'url', url };
  }
  const path = findServerBinary();
  if (path) {
    log.info(`found ${path}`);
    return { kind: 'binary', path };
  }
  if (await dockerAnswers()) {
    log.info('no redis-server or valkey-server on the PATH: using Docker');
    return { kind: 'docker' };
  }
  if (canUseApt()) return { kind: 'binary', path: await installWithApt(log) };
  throw new Error(howToGetRedis());
}

/** What a child process needs to know to use what {@link findRedis} found. */
export function redisEnv(redis) {
  switch (redis.kind) {
    case 'url':
      return { REDIS_URL: redis.url };
    case 'binary':
      return { REDIS_SERVER: redis.path };
    case 'docker':
      return { REDIS_SERVER: 'docker' };
  }
}

function findServerBinary() {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const candidates = ['redis-server', 'valkey-server'].flatMap((name) => folders.map((folder) => join(folder, name)));
  return candidates.find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

// The client alone proves nothing: on many machines it is installed and no engine runs.
async function dockerAnswers() {
  const { code, stdout } = await capture('docker', ['version', '--format', '{{.Server.Version}}'], { limitMs: 10_000 });
  return code === 0 && stdout.trim() !== '';
}

function canUseApt() {
  return process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
}

async function installWithApt(log) {
  log.info('no Redis found: installing redis-server with apt-get (as root on Debian or Ubuntu)');
  const letServicesRest = keepServicesFromStarting();
  try {
    await apt(log, ['update', '-q']);
    await apt(log, ['install', '-q', '-y', '--no-install-recommends', 'redis-server']);
  } finally {
    letServicesRest();
  }
  const path = findServerBinary();
  if (!path) throw new Error(`apt-get installed redis-server, but it is not on the PATH\n${howToGetRedis()}`);
  log.info(`installed ${path}; its system service was not started`);
  return path;
}

async function apt(log, args) {
  const code = await run('apt-get', args, { log, cwd: '/', env: { DEBIAN_FRONTEND: 'noninteractive' } });
  if (code !== 0) throw new Error(`apt-get ${args.join(' ')} failed with exit code ${code}\n${howToGetRedis()}`);
}

// Debian asks this script before a package may start its service; 101 says no. One that is there already is the admin's.
function keepServicesFromStarting() {
  if (existsSync(POLICY)) return () => {};
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(POLICY, { force: true });
}

function howToGetRedis() {
  return [
    'Redis is needed and was not found. Any one of these will do:',
    '  - put redis-server or valkey-server on the PATH (apt-get install redis-server, brew install redis, …)',
    '  - start Docker',
    '  - for the demo: set REDIS_URL to a server that is running (redis://127.0.0.1:6379)',
  ].join('\n');
}

function withoutPassword(url) {
  return url.replace(/\/\/[^@/]*@/, '//…@');
}
