import { once } from 'node:events';
import { createServer } from 'node:http';
import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis';
import pg from 'pg';
import { createApp } from './app.js';
import { prepareDatabase } from './users.js';

const { DATABASE_URL, REDIS_URL = 'redis://127.0.0.1:6379', PORT = '3000' } = process.env;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
pool.on('error', (error) => console.error('an idle database connection broke:', error.message));
const collapser = createCollapser({ name: 'dataloader', coordinator: redisCoordinator({ redis: () => new Redis(REDIS_URL) }) });
await prepareDatabase(pool);

const server = createServer(createApp(pool, collapser));
server.listen(Number(PORT), () => {
  const address = server.address();
  console.log(`listening on http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`);
});

process.once('SIGTERM', () => void stop());

async function stop(): Promise<void> {
  server.close();
  await once(server, 'close');
  await collapser.close();
  await pool.end();
}
