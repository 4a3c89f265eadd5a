// One replica of a shop as its own process, on the built packages. Its port is its first message.
//
// How often and how many at a time the handlers run is counted at a Redis connection of their own, so that it is known for
// all processes together.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createCollapser } from '@oneflight/core';
import { collapse } from '@oneflight/express-middleware';
import { redisCoordinator } from '@oneflight/redis-adapter';
import express from 'express';
import { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

const url = process.argv[2];
const redis = new Redis(url, { lazyConnect: true });
const control = new Redis(url);
const collapser = createCollapser({ name: 'shop', coordinator: redisCoordinator({ redis }) });
const app = express();

/** Waits until so many processes and requests have counted themselves. */
async function reached(key, count) {
  while (Number(await control.get(key)) < count) await sleep(2);
}

app.use((request, response, next) => {
  response.set('X-Request-Id', request.get('x-caller'));
  next();
  void control.incr(`arrived:${request.path}`);
});
const middleware = collapse(collapser, { statusHeader: true });
const keeps = collapse(collapser, { statusHeader: true, cache: 'http' });
app.use((request, response, next) => (request.path.startsWith('/kept/') ? keeps : middleware)(request, response, next));

const routes = {
  '/shared/:count': async (request, response) => {
    await control.incr('runs:shared');
    await reached(`arrived:${request.path}`, Number(request.params.count));
    await sleep(100); // those who have arrived have sent their claims, on another connection than the one that counts
    response.set('X-Made-By', 'the handler').json({ pid: process.pid, bytes: 'ä'.repeat(20_000) });
  },

  '/private/:count': async (request, response) => {
    const running = await control.incr('running:private');
    await control.rpush('seen:private', running);
    response.set('Cache-Control', 'private').flushHeaders();
    await reached('running:private', Number(request.params.count)); // it never gets there if one waits for another
    await sleep(300);
    response.end(request.get('x-caller'));
  },

  '/slow': async (_request, response) => {
    await control.rpush('slow:pids', process.pid);
    if ((await control.llen('slow:pids')) === 1) await sleep(600_000);
    response.send('seats');
  },

  '/kept/:name': async (request, response) => {
    const runs = await control.incr(`runs:${request.path}`);
    response.set({ 'Cache-Control': request.query.control, Vary: 'Accept-Language' });
    response.end(`${request.get('accept-language')} ${runs}`);
  },
};
for (const [path, handler] of Object.entries(routes)) app.get(path, handler);

app.post('/kept/:name', (_request, response) => response.status(204).end());

const server = createServer(app).listen(0, '127.0.0.1');
await once(server, 'listening');
process.send(server.address().port);
async function close() {
  server.close().closeAllConnections();
  await collapser.close();
  redis.disconnect();
  control.disconnect();
  setImmediate(() => process.disconnect());
}
process.on('message', () => void close());
