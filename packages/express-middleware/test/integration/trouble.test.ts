import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { type Collapser, createCollapser } from '@oneflight/core';
import express, { type RequestHandler, type Response } from 'express';
import { describe, expect, it } from 'vitest';

import { collapse } from '../../src/index.js';
import { ask, serveApp, startShop } from '../support/shop.js';

const big = Buffer.alloc(900_000, 'x');

describe("a leader's caller", () => {
  it('who reads nothing keeps nobody waiting', async () => {
    const shop = await startShop(
      2,
      async (_request, response) => {
        await shop.gate;
        Readable.from(Array.from({ length: 9 }, () => big)).pipe(response);
      },
      { limits: { bodyBytesMax: 10_000_000 } },
    );
    const slow = connect(shop.ports[0] ?? 0, '127.0.0.1');
    slow.pause().write('GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n');
    await shop.allWait(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {})];
    await shop.allWait(3);
    shop.open();
    for (const { raw } of await Promise.all(asked)) expect(raw.byteLength).toBe(8_100_000);
    console.log(`two followers have all 8,100,000 bytes; the leader's client has read ${slow.bytesRead}`);
    expect(shop.calls).toHaveLength(1);
    slow.destroy();
  });

  it('who reads nothing makes the handler wait once the answer is too large to be shared', async () => {
    const source = Readable.from(
      Array.from({ length: 200 }, () => big),
      { objectMode: true },
    );
    const shop = await startShop(1, (_request, response) => void source.pipe(response), { limits: { bodyBytesMax: 1_000_000 } });
    const slow = connect(shop.ports[0] ?? 0, '127.0.0.1');
    slow.pause().write('GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n');
    await expect.poll(() => shop.middlewares[0]?.stats().unshareable.too_large).toBe(1);
    await expect.poll(() => source.isPaused()).toBe(true);
    expect(source.readableEnded).toBe(false);
    slow.destroy();
  });

  /** Each writes a part, then waits until the caller has left, then writes the rest. */
  it.each<[string, (response: Response, left: Promise<void>) => unknown]>([
    [
      'write and end',
      async (response, left) => {
        response.write('part ');
        await left;
        response.write('rest ');
        response.end('end');
      },
    ],
    [
      'pipe',
      (response, left) => {
        const source = new PassThrough();
        source.pipe(response);
        source.write('part ');
        void left.then(() => source.write('rest ')).then(() => source.end('end'));
      },
    ],
    [
      'pipeline',
      async (response, left) => {
        async function* parts() {
          yield 'part ';
          await left;
          yield 'rest ';
          yield 'end';
        }
        await pipeline(parts, response).catch(() => undefined); // its caller did leave
      },
    ],
    [
      'pipeline that begins after that',
      async (response, left) => {
        await left;
        await pipeline(Readable.from(['part ', 'rest ', 'end']), response).catch(() => undefined);
      },
    ],
    [
      'a loop that looks whether it may go on',
      async (response, left) => {
        response.write('part ');
        await left;
        for (const part of ['rest ', 'end']) if (!response.destroyed && !response.closed) response.write(part);
        response.end();
      },
    ],
  ])('who leaves in the middle of an answer by %s takes it from nobody', async (_how, handle) => {
    let leave = (): void => {};
    const left = new Promise<void>((resolve) => (leave = resolve));
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      await handle(response, left);
    });
    const leaves = new AbortController();
    const leader = shop.ask(0, { signal: leaves.signal }).catch((error: unknown) => error);
    await shop.allWait(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {})];
    await shop.allWait(3);
    shop.open();
    await shop.allRun(1);
    leaves.abort();
    await leader;
    await expect.poll(() => shop.collapsers[0]?.stats().totals.aborts, { interval: 5 }).toBe(1);
    leave();
    for (const { body } of await Promise.all(asked)) expect(body).toBe('part rest end');
    expect(shop.calls).toHaveLength(1);
  });

  it('who leaves before sendFile begins takes it from nobody', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'oneflight-trouble-'));
    await writeFile(join(folder, 'seats.bin'), big);
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.sendFile(join(folder, 'seats.bin'));
    });
    const leaves = new AbortController();
    const leader = shop.ask(0, { signal: leaves.signal }).catch((error: unknown) => error);
    await shop.allWait(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {})];
    await shop.allWait(3);
    leaves.abort();
    await leader;
    await shop.allWait(2);
    shop.open();
    for (const { raw } of await Promise.all(asked)) expect(raw.equals(big)).toBe(true);
    expect(shop.calls).toHaveLength(1);
    await rm(folder, { recursive: true });
  });

  it('who leaves stops a handler that writes nothing more, and one of those who only wait takes over', async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      if (shop.calls.length > 1) return void response.send('whole');
      return void response.write('part');
    });
    const leaves = new AbortController();
    const leader = shop.ask(0, { signal: leaves.signal }).catch((error: unknown) => error);
    await shop.allWait(1);
    void shop.ask(0, {}).catch(() => undefined); // gets a part at once, and has nothing to turn to
    await shop.allWait(2);
    const asked = [shop.ask(1, {}), shop.ask(1, {})];
    await shop.allWait(4);
    shop.open();
    await expect.poll(() => shop.middlewares[0]?.stats().streamed).toBe(1);
    leaves.abort();
    await leader;
    for (const { body } of await Promise.all(asked)) expect(body).toBe('whole');
    expect(shop.calls).toHaveLength(2);
  }, 10_000); // far below the 30 seconds after which a load that never ends is given up

  it.each([[true], [false]])('who leaves is told to the handler when nobody else waits (one process: %s)', async (alone) => {
    let closed = 0;
    const shop = await startShop(
      1,
      (_request, response) => {
        response.once('close', () => (closed += 1));
        response.write('part');
      },
      {},
      { alone },
    );
    const leaves = new AbortController();
    const leader = shop.ask(0, { signal: leaves.signal }).catch((error: unknown) => error);
    await shop.allRun(1);
    await expect.poll(() => shop.middlewares[0]?.stats().capturedBytes).toBe(4);
    leaves.abort();
    await leader;
    await expect.poll(() => closed).toBe(1);
    expect(shop.middlewares[0]?.stats()).toMatchObject({ capturing: 0, capturedBytes: 0, getKeys: 0 });
  });
});

describe('a handler', () => {
  it('that never answers keeps nobody longer than they are patient, and then they run for themselves', async () => {
    const shop = await startShop(2, (_request, response) => void (shop.calls.length > 1 && response.send('seats')), { timeoutMs: 300 });
    const leaves = new AbortController();
    const leader = shop.ask(0, { signal: leaves.signal }).catch((error: unknown) => error);
    await shop.allRun(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {})];
    for (const { body } of await Promise.all(asked)) expect(body).toBe('seats');
    const unserved = shop.middlewares.map((middleware) => middleware.stats().unserved.timeout);
    expect(unserved).toEqual([1, 1]);
    leaves.abort();
    await leader;
  });

  it('that fails again and again is run three times; the application then answers the others with its status', async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.status(503).json({ secret: 'of the leader' });
    });
    const asked = [0, 1, 0, 1, 0, 1, 0, 1].map((replica) => shop.ask(replica, {}));
    await shop.allWait(8);
    shop.open();
    const answers = await Promise.all(asked);
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 503));
    expect(shop.calls).toHaveLength(3);
    expect(answers.filter(({ body }) => body.includes('secret'))).toHaveLength(3);
    expect(
      answers.filter(({ body }) => body.includes('ERR_ONEFLIGHT_HTTP_FAILED_ANSWER') || body.includes('FailedAnswerError')),
    ).toHaveLength(5);
  });

  it('that fails is not remembered as one whose answers cannot be shared', async () => {
    const shop = await startShop(1, (_request, response) => void response.sendStatus(500));
    await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats().hitForMissKeys).toBe(0);
  });

  it('that throws while it sends its head is followed by the answer of the error handler', async () => {
    const invalid: RequestHandler = (_request, response) => void response.writeHead(200, { 'X-Bad': 'a\r\nb: c' }).end();
    const shop = await startShop(1, invalid);
    expect((await shop.ask(0, {})).status).toBe(500);
    expect(shop.middlewares[0]?.stats()).toMatchObject({ capturing: 0, capturedBytes: 0 });
  });

  it('whose answer cannot be kept ends its wait all the same, and one of those who wait takes over', async () => {
    const collapser = createCollapser();
    const flight: Collapser['flight'] = (key, load, options) => {
      const keep = (): never => {
        throw new Error('a lifetime that nobody takes');
      };
      const isFirst = calls === 0;
      return collapser.flight(key, (context) => load(isFirst ? Object.create(context, { keep: { value: keep } }) : context), options);
    };
    let calls = 0;
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const app = express().use(collapse(Object.assign(Object.create(collapser), { flight }), { cache: 'http' }));
    app.use(async (_request, response) => {
      const call = ++calls;
      await gate;
      response.set('Cache-Control', 'max-age=60').end(`v${call}`);
    });
    const port = await serveApp(app);
    const leader = ask(port, {});
    await expect.poll(() => calls).toBe(1);
    const follower = ask(port, {});
    await expect.poll(() => collapser.stats().waiters).toBe(2);
    open();
    expect([(await leader).body, (await follower).body]).toEqual(['v1', 'v2']);
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
    await collapser.close();
  });
});
