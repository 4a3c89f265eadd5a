import { once } from 'node:events';
import { createServer } from 'node:http';

import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { RedisStore as SessionRedisStore } from 'connect-redis';
import { Redis } from 'ioredis';
import { RedisStore as RateLimitRedisStore } from 'rate-limit-redis';
import { createClient } from 'redis';

import { createApp } from './app.js';
import { catalogAt } from './catalog.js';

const { REDIS_URL = 'redis://127.0.0.1:6379', CATALOG_URL = 'http://127.0.0.1:4000', PORT = '3000', HOST = '127.0.0.1' } = process.env;
const { SESSION_SECRET, ALLOWED_ORIGINS = '', REQUESTS_PER_MINUTE = '300' } = process.env;
if (SESSION_SECRET === undefined) throw new Error('SESSION_SECRET is not set: it signs the session cookies, the same on all replicas');

const collapser = createCollapser({ name: 'behind-nginx', coordinator: redisCoordinator({ redis: () => new Redis(REDIS_URL) }) });
const sessionRedis = createClient({ url: REDIS_URL });
sessionRedis.on('error', (error: Error) => console.error('the Redis of the sessions:', error.message));
await sessionRedis.connect();
const limitRedis = new Redis(REDIS_URL);
limitRedis.on('error', (error) => console.error('the Redis of the rate limit:', error.message));

const app = createApp({
  collapser,
  catalog: catalogAt(CATALOG_URL),
  sessions: new SessionRedisStore({ client: sessionRedis, prefix: 'shop:session:' }),
  sessionSecret: SESSION_SECRET,
  rateLimits: new RateLimitRedisStore({ prefix: 'shop:limit:', sendCommand: (command, ...args) => ask(command, args) }),
  requestsPerMinute: Number(REQUESTS_PER_MINUTE),
  allowedOrigins: ALLOWED_ORIGINS.split(',').filter((origin) => origin !== ''),
});
const server = createServer(app);
server.keepAliveTimeout = 75_000; // longer than nginx keeps an idle connection, or it may send on one that is being closed
server.listen(Number(PORT), HOST, () => {
  const address = server.address();
  console.log(`listening on http://${HOST}:${typeof address === 'object' ? address?.port : address}`);
});

process.once('SIGTERM', () => void stop());

async function stop(): Promise<void> {
  server.close().closeIdleConnections();
  await once(server, 'close');
  await collapser.close();
  limitRedis.disconnect();
  await sessionRedis.close();
}

/** What a rate limit's script answers: numbers and texts. */
async function ask(command: string, args: readonly string[]): Promise<string | number | (string | number)[]> {
  const reply: unknown = await limitRedis.call(command, ...args);
  const isPlain = (value: unknown): value is string | number => typeof value === 'string' || typeof value === 'number';
  if (isPlain(reply)) return reply;
  if (Array.isArray(reply) && reply.every(isPlain)) return reply;
  throw new Error(`expected numbers or texts from ${command}, got ${typeof reply}`);
}
