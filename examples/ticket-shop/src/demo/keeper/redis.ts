import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

import { freePort } from '../free-port.js';
import type { StartedServer } from './postgres.js';

/** Starts a Redis (or Valkey) of its own: `program`, or the first one found on the PATH. */
export async function startRedis(directory: string, program: string | undefined): Promise<StartedServer> {
  const candidates = program === undefined || program === '' ? ['redis-server', 'valkey-server'] : [program];
  for (const candidate of candidates) {
    const started = await tryStart(candidate, directory);
    if (started !== undefined) return started;
  }
  throw new Error(
    `found no Redis: tried ${candidates.join(', ')}. Install one, or set REDIS_SERVER to its path or REDIS_URL to a running one`,
  );
}

async function tryStart(program: string, directory: string): Promise<StartedServer | undefined> {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory];
  const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  if (!(await isReady(server))) return undefined;
  return { url: `redis://127.0.0.1:${port}`, stop: () => stop(server) };
}

/** False when there is no such program. */
function isReady(server: ChildProcess): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let log = '';
    server.stdout?.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4_000);
      if (log.includes('Ready to accept connections')) resolve(true);
    });
    server.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
    server.once('error', (error) => ('code' in error && error.code === 'ENOENT' ? resolve(false) : reject(error)));
    server.once('exit', () => reject(new Error(`Redis did not start:\n${log}`)));
  });
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGTERM');
  const insist = setTimeout(() => server.kill('SIGKILL'), 3_000);
  await exited;
  clearTimeout(insist);
}
