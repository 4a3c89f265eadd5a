import { accessSync, constants } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { spawnServer } from './child-server.js';
import { freePort } from './free-port.js';
import { waitFor } from './wait-for.js';

const START_MS_MAX = 10_000;

/** An nginx of the test's own, on 127.0.0.1. It never outlives the process that started it. */
export interface TestNginx {
  readonly url: string;
  stop(): Promise<void>;
}

/** The nginx of this machine: the path that `NGINX` names, or one on the PATH. Undefined where there is none. */
export function findNginx(): string | undefined {
  const named = process.env['NGINX'];
  if (named !== undefined && named !== '') return named;
  const folders = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin`.split(delimiter);
  return folders.map((folder) => join(folder, 'nginx')).find(isExecutable);
}

/** Runs nginx with an application's own configuration, but on a free port and in front of these servers (`host:port`). */
export async function startNginx(program: string, config: URL, servers: readonly string[]): Promise<TestNginx> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'oneflight-nginx-'));
  await chmod(folder, 0o755); // its workers are another user where it was started by root
  const text = (await readFile(config, 'utf8'))
    .replace(/listen [^;]+;/, `listen 127.0.0.1:${port};`)
    .replace(/(?:^ *server [^{;]+;\n)+/m, servers.map((server) => `    server ${server};\n`).join(''));
  await writeFile(join(folder, 'nginx.conf'), text);
  const nginx = spawnServer(program, ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr', '-g', 'daemon off;']);
  const stop = async (): Promise<void> => {
    await nginx.end('SIGTERM');
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await waitFor(async () => !nginx.running || (await answers(port)), { timeoutMs: START_MS_MAX, what: `nginx on port ${port}` });
    if (!nginx.running) throw new Error('it ended at once');
  } catch (error) {
    await stop();
    throw new Error(`nginx did not start on port ${port}: ${String(error)}\n${nginx.log}`, { cause: error });
  }
  return { url: `http://127.0.0.1:${port}`, stop };
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (isUp: boolean): void => {
      socket.destroy();
      resolve(isUp);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
