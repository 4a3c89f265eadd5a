import { startPostgres, startRedis } from '@oneflight/testkit';

import { type Message } from '../child.js';
import { createTeardown } from '../teardown.js';

/*
 * Keeps the servers and their data in a process of its own: whichever way the demo ends, also by SIGKILL,
 * its channel closes here, and this process stops the servers and removes their data before it ends.
 */
const teardown = createTeardown((text) => console.error(text));
let starting: Promise<void> = Promise.resolve();

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
  const databaseUrl = await postgres();
  const redisUrl = process.env['REDIS_URL'] || (await redis());
  tell({ kind: 'ready', databaseUrl, redisUrl });
}

async function postgres(): Promise<string> {
  tell({ kind: 'progress', text: process.env['DATABASE_URL'] ? 'using the PostgreSQL of DATABASE_URL' : 'starting PostgreSQL' });
  const settings = { max_connections: process.env['CONNECTIONS_MAX'] ?? '100', shared_preload_libraries: 'pg_stat_statements' };
  const server = await startPostgres({ settings });
  teardown.defer('PostgreSQL', () => server.stop());
  return server.url;
}

async function redis(): Promise<string> {
  tell({ kind: 'progress', text: 'starting Redis' });
  const server = await startRedis();
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
