import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { createCollapser } from '@oneflight/core';
import express from 'express';
import { describe, expect, it } from 'vitest';

import { collapse } from '../../src/index.js';
import { KEYS_MAX } from '../../src/hit-for-miss.js';
import { serveApp, startShop } from '../support/shop.js';

/** Changes one text in the head of an answer on its way; both have the same length, so that only the text is wrong. */
function replace(from: string, to: string) {
  return (bytes: Uint8Array): Uint8Array => {
    const text = Buffer.from(bytes).toString('latin1');
    expect(text).toContain(from);
    expect(from).toHaveLength(to.length);
    return Buffer.from(text.replace(from, to), 'latin1');
  };
}

describe('an answer that an enemy changed on its way', () => {
  it.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ['splits the response', replace('a______________________b', 'a\\r\\nSet-Cookie: evil=1#')],
    ['sets a cookie', replace('"x-a-name-22"', '"set-cookie" ')],
    ['has another status', replace('"status":200', '"status":206')],
    ['is cut off', (bytes) => bytes.subarray(0, 20)],
    ['is empty', () => new Uint8Array()],
    ['is something else', () => Buffer.from('{"status":200,"body":"evil"}')],
    ['is far too large', (bytes) => Buffer.concat([bytes, Buffer.alloc(2_000_000)])],
  ])('is refused when it %s: counted, and the handler answers', async (_how, tamper) => {
    const shop = await startShop(
      2,
      async (_request, response) => {
        await shop.gate;
        response.set({ 'X-Made': 'a______________________b', 'X-A-Name-22': 'b' }).send('seats');
      },
      {},
      { tamper },
    );
    const asked = [];
    for (const [index, replica] of [0, 0, 1, 1].entries()) {
      asked.push(shop.ask(replica, {}));
      await shop.allWait(index + 1);
    }
    shop.open();
    for (const { status, body, headers } of await Promise.all(asked)) {
      expect([status, body]).toEqual([200, 'seats']);
      expect(headers).not.toHaveProperty('set-cookie');
    }
    expect(shop.calls).toHaveLength(2); // those of one replica still share
    expect(shop.middlewares[1]?.stats().refused).toBe(1);
    expect(shop.collapsers[1]?.stats().totals.unreadableOutcomes).toBe(1);
  });

  it('is refused when it is the answer to another request', async () => {
    const seen: Uint8Array[] = [];
    const shop = await startShop(
      2,
      async (request, response) => {
        if (request.path === '/two') await shop.gate;
        response.send(request.path);
      },
      {},
      { tamper: (bytes) => seen[seen.push(bytes) - 2] ?? bytes },
    );
    await shop.ask(0, { path: '/one' });
    await expect.poll(() => seen).toHaveLength(1);
    const leader = shop.ask(0, { path: '/two' });
    await shop.allWait(1);
    const follower = shop.ask(1, { path: '/two' });
    await shop.allWait(2);
    shop.open();
    expect([(await leader).body, (await follower).body]).toEqual(['/two', '/two']);
    expect(shop.middlewares[1]?.stats().refused).toBe(1);
  });
});

describe('a request made to harm', () => {
  it('cannot put anything into a header by its URL or its headers', async () => {
    const shop = await startShop(1, (request, response) => void response.send(request.url), { statusHeader: true, varyOn: ['x-a'] });
    const socket = connect(shop.ports[0] ?? 0, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.write('GET /%0d%0aSet-Cookie:%20a=1?{oneflight}#x HTTP/1.1\r\nHost: a\r\nX-A: {x}%0d%0aEvil: 1\r\nConnection: close\r\n\r\n');
    await expect.poll(() => text).toContain('Connection: close');
    expect(text.split('\r\n\r\n')[0]).not.toMatch(/set-cookie|evil/i);
    expect(text.split('\r\n\r\n')[0]).toMatch(/^HTTP\/1\.1 200/);
  });

  it('cannot make one key of two different ones', async () => {
    const shop = await startShop(1, async (request, response) => {
      await shop.gate;
      response.send(`${request.url} ${String(request.get('cookie'))}`);
    });
    const pairs = [
      { path: '/a?b=1,"c', headers: { cookie: 'd' } },
      { path: '/a?b=1', headers: { cookie: '","c d' } },
      { path: '/a?b=1%2C', headers: { cookie: 'c d' } },
      { path: '/a%3Fb=1', headers: { cookie: 'c d' } },
    ];
    const asked = pairs.map((what) => shop.ask(0, what));
    await shop.allWait(pairs.length);
    shop.open();
    const bodies = (await Promise.all(asked)).map(({ body }) => body);
    expect(bodies).toEqual(pairs.map(({ path, headers }) => `${path} ${headers.cookie}`));
  });

  it('with a URL that never came before, many times over, leaves nothing behind beyond what is bounded', async () => {
    const collapser = createCollapser();
    const middleware = collapse(collapser);
    const app = express();
    app.use(
      middleware,
      (request, response) => void response.set('Cache-Control', request.path.startsWith('/private') ? 'private' : 'public').send('x'),
    );
    const port = await serveApp(app);
    await flood(port, '/private', KEYS_MAX + 1_000);
    expect(middleware.stats()).toMatchObject({ hitForMissKeys: KEYS_MAX, capturing: 0, capturedBytes: 0, getKeys: 0 });
    const before = heapBytes();
    await flood(port, '/private/again', 2_000);
    await flood(port, '/public', 2_000);
    const grown = heapBytes() - before;
    console.log(`4,000 more URLs that never came before: the heap grew by ${(grown / 1_048_576).toFixed(1)} MiB`);
    expect(grown).toBeLessThan(4 * 1_048_576); // a kilobyte for each would be as much
    expect(middleware.stats()).toMatchObject({ hitForMissKeys: KEYS_MAX, capturing: 0, capturedBytes: 0, getKeys: 0 });
    expect(collapser.stats()).toMatchObject({ flights: 0, joinable: 0, waiters: 0 });
  });
});

/** What is in use after all that is not has been collected. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}

/** Sends so many requests with different URLs, one behind the other on a few connections. */
async function flood(port: number, prefix: string, count: number): Promise<void> {
  const connections = 4;
  await Promise.all(Array.from({ length: connections }, (_, index) => floodOne(port, `${prefix}/${index}`, count / connections)));
}

function floodOne(port: number, prefix: string, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answered = 0;
    let rest = '';
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      const parts = `${rest}${chunk.toString('latin1')}`.split('HTTP/1.1 200');
      answered += parts.length - 1;
      rest = (parts.at(-1) ?? '').slice(-'HTTP/1.1 200'.length);
      if (answered < count) return;
      socket.destroy();
      resolve();
    });
    for (let n = 0; n < count; n += 1) socket.write(`GET ${prefix}/${n} HTTP/1.1\r\nHost: a\r\n\r\n`);
  });
}
