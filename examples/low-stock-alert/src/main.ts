import { once } from 'node:events';
import { createServer } from 'node:http';
import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import express from 'express';
import { Redis } from 'ioredis';
import pg from 'pg';
import { findProducts, prepareDatabase } from './products.js';
import { createSearch } from './search.js';

const { DATABASE_URL, REDIS_URL = 'redis://127.0.0.1:6379', ALERT_URL = '', ALERT_EVERY_MS = '3600000', PORT = '3000' } = process.env;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
pool.on('error', (error) => console.error('an idle database connection broke:', error.message));
const collapser = createCollapser({ name: 'low-stock', coordinator: redisCoordinator({ redis: () => new Redis(REDIS_URL) }) });
await prepareDatabase(pool);

const search = createSearch({
  collapser,
  find: (keyword) => findProducts(pool, keyword),
  async alert(warning, signal) {
    const headers = { 'Content-Type': 'application/json' };
    const { status } = await fetch(ALERT_URL, { method: 'POST', headers, body: JSON.stringify(warning), signal });
    if (status >= 400) throw new Error(`${ALERT_URL} answered ${status}`);
  },
  alertEveryMs: Number(ALERT_EVERY_MS),
});

const app = express();
app.get('/search/:keyword', (request, response, next) => {
  search(request.params.keyword).then((page) => response.json(page), next);
});

const server = createServer(app);
server.listen(Number(PORT), () => {
  const address = server.address();
  console.log(`listening on http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`);
});

process.once('SIGTERM', () => void stop());

async function stop(): Promise<void> {
  server.close();
  await once(server, 'close');
  await collapser.close(); // waits for an alert that is being sent
  await pool.end();
}
