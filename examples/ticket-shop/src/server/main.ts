import { once } from 'node:events';
import { createServer, type Server } from 'node:http';

import pg from 'pg';

import { followActivity } from './activity.js';
import { createApp, type Shop } from './app.js';
import { createCollapsing, isCollapseMode } from './collapsing.js';
import { readConfig, type ServerConfig } from './config.js';
import { createMetrics, serveMetrics } from './metrics.js';
import { prepareDatabase } from './schema.js';

const config = readConfig(process.env);
const pool = new pg.Pool({ connectionString: config.databaseUrl, max: config.poolSize, idleTimeoutMillis: 0 });
pool.on('error', (error) => console.error('an idle database connection broke:', error.message));
const collapsing = createCollapsing({ redisUrl: config.redisUrl, mode: config.collapse });
const shop: Shop = { pool, collapsing, metrics: createMetrics(collapsing), busyMs: config.busyMs };
const server = createServer(createApp(shop));

await prepareDatabase(pool);
await openConnections(config);
const metricsServer =
  config.metricsPort === undefined ? undefined : await serveMetrics(shop.metrics, { host: config.host, port: config.metricsPort });
await listen(server, config);

process.once('SIGTERM', () => void stop());
process.once('SIGINT', () => void stop());
if (process.send !== undefined) followParent();

/** A pool that connects only under load would make the first burst slower than the second. */
async function openConnections({ poolSize }: ServerConfig): Promise<void> {
  const clients = await Promise.all(Array.from({ length: poolSize }, () => pool.connect()));
  for (const client of clients) client.release();
}

async function listen(target: Server, { host, port }: ServerConfig): Promise<void> {
  target.keepAliveTimeout = 120_000; // longer than the load balancer keeps its connections, so that it closes them first
  target.listen({ host, port, backlog: 4_096 });
  await once(target, 'listening');
  const actualPort = portOf(target) ?? port;
  if (process.send === undefined) console.log(`listening on ${host}:${actualPort}, collapse=${shop.collapsing.mode}`);
  else tellParent({ kind: 'ready', port: actualPort, metricsPort: portOf(metricsServer) });
}

function portOf(target: Server | undefined): number | undefined {
  const address = target?.address();
  return typeof address === 'object' ? address?.port : undefined;
}

/** Under the demo: its orders, what goes on here, and an end when it goes away, however it does. */
function followParent(): void {
  process.once('disconnect', () => void stop());
  process.on('message', (message: unknown) => {
    if (!isOrder(message)) return;
    shop.collapsing.mode = message.collapse;
    shop.busyMs = message.busyMs;
    tellParent({ kind: 'configured' });
  });
  followActivity(shop.collapsing.collapser, (activity) => tellParent({ kind: 'activity', activity }));
}

/** A parent that has gone does not hear it; the end follows by `disconnect`. */
function tellParent(message: object): void {
  process.send?.(message, undefined, undefined, () => {});
}

function isOrder(message: unknown): message is { kind: 'configure'; collapse: Shop['collapsing']['mode']; busyMs: number } {
  if (typeof message !== 'object' || message === null || !('kind' in message) || message.kind !== 'configure') return false;
  return 'collapse' in message && isCollapseMode(message.collapse) && 'busyMs' in message && typeof message.busyMs === 'number';
}

let stopping = false;

/** Answers what is under way, accepts nothing more, and lets go of everything, in the order of use. */
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  setTimeout(() => process.exit(1), 10_000).unref();
  const closed = new Promise((resolve) => server.close(resolve));
  const sweep = setInterval(() => server.closeIdleConnections(), 50); // a connection is idle once its answer has gone
  await closed;
  clearInterval(sweep);
  metricsServer?.close().closeAllConnections();
  await shop.collapsing.close();
  await pool.end();
  process.exit(0);
}
