import { canUseApt, findOnPath, installWithApt } from './programs.mjs';
import { capture } from './run.mjs';

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
  if (canUseApt()) return useBinary(await installServer(log));
  throw new Error(howToGetRedis());
}

function useBinary(path) {
  return { env: { REDIS_SERVER: path }, stop: async () => {} };
}

function findServerBinary() {
  return findOnPath('redis-server', 'valkey-server');
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

async function installServer(log) {
  log.info('no Redis found: installing redis-server with apt-get (as root on Debian or Ubuntu)');
  await installWithApt(log, 'redis-server').catch((error) => {
    throw new Error(`${error.message}\n${howToGetRedis()}`, { cause: error });
  });
  const path = findServerBinary();
  if (!path) throw new Error(`apt-get installed redis-server, but it is not on the PATH\n${howToGetRedis()}`);
  log.info(`installed ${path}; its system service was not started`);
  return path;
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
