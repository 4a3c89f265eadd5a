import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture, run } from './run.mjs';

const POLICY = '/usr/sbin/policy-rc.d';
const IMAGE = 'redis:8.2-alpine';

/**
 * Finds a Redis, or installs one where that is possible without asking. In this order: `REDIS_URL`; a server binary on the
 * PATH; Docker, if an engine answers; apt-get on Debian and Ubuntu as root. With `ownServer` (tests start, freeze and kill
 * servers of their own) only a binary will do.
 *
 * Resolves with the environment that tells a child process what to use (`REDIS_URL` or `REDIS_SERVER`) and a `stop` for
 * what was started here; rejects with what to do.
 */
export async function findRedis(log, { ownServer }) {
  const url = process.env.REDIS_URL;
  if (url && !ownServer) {
    log.info(`REDIS_URL is set: using ${withoutPassword(url)}`);
    return { env: { REDIS_URL: url }, stop: async () => {} };
  }
  const path = findServerBinary();
  if (path) {
    log.info(`found ${path}`);
    return useBinary(path);
  }
  if (!ownServer && (await dockerAnswers())) return startContainer(log);
  if (canUseApt()) return useBinary(await installWithApt(log));
  throw new Error(howToGetRedis());
}

function useBinary(path) {
  return { env: { REDIS_SERVER: path }, stop: async () => {} };
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

async function startContainer(log) {
  log.info(`no redis-server or valkey-server on the PATH: starting ${IMAGE} with Docker`);
  const flags = ['--detach', '--rm', '--publish', '127.0.0.1::6379'];
  const id = await docker(['run', ...flags, IMAGE, 'redis-server', '--save', '', '--appendonly', 'no'], 10 * 60_000);
  const stop = async () => void (await capture('docker', ['rm', '--force', id]));
  try {
    const address = await docker(['port', id, '6379/tcp']);
    await docker(['exec', id, 'sh', '-c', 'until redis-cli ping; do sleep 0.1; done']);
    return { env: { REDIS_URL: `redis://${address.split('\n')[0]}` }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function docker(args, limitMs) {
  const { code, stdout, stderr } = await capture('docker', args, { limitMs });
  if (code !== 0) throw new Error(`docker ${args[0]} failed: ${stderr.trim()}\n${howToGetRedis()}`);
  return stdout.trim();
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
    '  - for the demo: start Docker, or set REDIS_URL to a server that is running (redis://127.0.0.1:6379)',
  ].join('\n');
}

function withoutPassword(url) {
  return url.replace(/\/\/[^@/]*@/, '//…@');
}
