import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';

/** A Redis server of its own for one test file, empty and on a free port. */
export interface RedisServer {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Kills it at once, as a crash does. */
  stop(): Promise<void>;
}

/** Starts one; on a given port to come back where another was. */
export async function startRedis({ port, args = [] }: { port?: number; args?: readonly string[] } = {}): Promise<RedisServer> {
  const on = port ?? (await freePort());
  const child = spawn('redis-server', ['--port', String(on), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...args], { stdio: 'ignore' });
  await answers(on, child);
  return {
    port: on,
    url: `redis://127.0.0.1:${on}`,
    pid: child.pid as number,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function answers(port: number, child: ChildProcess): Promise<void> {
  const probe = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 20, maxRetriesPerRequest: null });
  probe.on('error', () => {});
  const died = once(child, 'exit').then(() => {
    throw new Error('redis-server exited; is it installed?');
  });
  await Promise.race([probe.ping(), died]).finally(() => probe.disconnect());
  died.catch(() => {});
}
