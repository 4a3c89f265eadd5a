import { once } from 'node:events';
import { connect } from 'node:net';
import { type ChildServer, spawnServer } from './child-server.js';
import { freePort } from './free-port.js';
import { waitFor } from './wait-for.js';

const START_MS_MAX = 15_000;
const PORT_TRIES = 3;

export interface RedisOptions {
  /** More arguments for the server, after ours, so they win. */
  readonly args?: readonly string[];
  /** @default a free port */
  readonly port?: number;
  /** Path or name of the server program. @default `REDIS_SERVER`, else redis-server or valkey-server on the PATH */
  readonly binary?: string;
  /** False for servers that have to reach each other under the addresses that the test knows. @default true */
  readonly mayBeContained?: boolean;
}

/** A server of the test's own, on 127.0.0.1, that keeps nothing on disk. It never outlives the process that started it. */
export interface TestServer {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Changes with each restart. */
  readonly pid: number;
  /** Ends it in an orderly way. Does nothing when it is gone already. */
  stop(): Promise<void>;
  /** Ends it as a crash does. */
  kill9(): Promise<void>;
  /** Freezes it: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** Comes back, empty, on the same port; ends it first where it still runs. */
  restart(): Promise<void>;
}

/**
 * Starts a Redis or Valkey and resolves when it answers: a program on this machine, or a container where
 * `ONEFLIGHT_TEST_REDIS` is `containers`. Rejects with what the server printed.
 */
export async function startRedis(options: RedisOptions = {}): Promise<TestServer> {
  if (process.env['ONEFLIGHT_TEST_REDIS'] === 'containers' && options.binary === undefined && options.mayBeContained !== false) {
    const { startRedisContainer } = await import('./redis-container.js');
    return await startRedisContainer(options);
  }
  for (let tries = 1; ; tries += 1) {
    const port = options.port ?? (await freePort());
    try {
      return control(await launch(port, options), port, options);
    } catch (error) {
      // Between finding a free port and using it another process may have taken it.
      const portWasTaken = options.port === undefined && /address already in use/i.test(String(error));
      if (!portWasTaken || tries === PORT_TRIES) throw error;
    }
  }
}

function control(first: ChildServer, port: number, options: RedisOptions): TestServer {
  let server = first;
  return {
    host: '127.0.0.1',
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return pidOf(server);
    },
    async stop() {
      server.send('SIGCONT');
      await server.end('SIGTERM');
    },
    kill9: () => server.end('SIGKILL'),
    pause: () => server.send('SIGSTOP'),
    resume: () => server.send('SIGCONT'),
    async restart() {
      await server.end('SIGKILL');
      server = await launch(port, options);
    },
  };
}

async function launch(port: number, { args = [], binary }: RedisOptions): Promise<ChildServer> {
  const programs = programsToTry(binary);
  const ours = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  for (const program of programs) {
    const server = spawnServer(program, [...ours, ...args]);
    if (server.pid === undefined) continue;
    await answers(server, port);
    return server;
  }
  throw new Error(`found no Redis: tried ${programs.join(', ')}. Put one on the PATH, or set REDIS_SERVER to its path`);
}

function programsToTry(binary = process.env['REDIS_SERVER']): readonly string[] {
  return binary === undefined || binary === '' ? ['redis-server', 'valkey-server'] : [binary];
}

async function answers(server: ChildServer, port: number): Promise<void> {
  // The answer to PING alone could be another server's that has the port already.
  const isReady = async (): Promise<boolean> => server.log.includes('eady to accept connections') && (await ping(port));
  try {
    await waitFor(async () => !server.running || (await isReady()), {
      timeoutMs: START_MS_MAX,
      what: `an answer to PING on port ${port}`,
    });
    if (!server.running) throw new Error('the server ended at once');
  } catch (error) {
    await server.end('SIGKILL');
    throw new Error(`Redis did not start on port ${port}: ${String(error)}\n${server.log}`, { cause: error });
  }
}

async function ping(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1', timeout: 1_000 });
  socket.once('timeout', () => socket.destroy(new Error('no answer')));
  try {
    socket.write('PING\r\n');
    const replies: unknown[] = await once(socket, 'data');
    // A server that asks for a password is up as well; one that says LOADING is not.
    return /^(\+PONG|-NOAUTH)/.test(String(replies[0]));
  } finally {
    socket.destroy();
  }
}

function pidOf(server: ChildServer): number {
  if (server.pid === undefined) throw new Error('expected a server that was started, got one that was not');
  return server.pid;
}
