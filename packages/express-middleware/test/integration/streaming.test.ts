import { Readable } from 'node:stream';

import compression from 'compression';
import type { Request, RequestHandler, Response } from 'express';
import { describe, expect, it } from 'vitest';
import { brotliDecompressSync, constants } from 'node:zlib';

import type { CollapseOptions } from '../../src/index.js';
import { read, type ReaderOptions } from '../support/reader.js';
import { type ShopOptions, startShop } from '../support/shop.js';

/** A shop whose answers the test writes itself: `responses[n]` is that of the nth run of the handler. */
async function startWritten(replicas: number, options?: CollapseOptions, shopOptions?: ShopOptions, set: RequestHandler = noop) {
  const responses: Response[] = [];
  const requests: Request[] = [];
  const handler: RequestHandler = (request, response, next) => {
    requests.push(request);
    responses.push(response);
    set(request, response, next);
  };
  const shop = await startShop(replicas, handler, options, shopOptions);
  const port = (replica: number): number => shop.ports[replica] ?? 0;
  return {
    ...shop,
    requests,
    response: (run: number): Response => responses[run] ?? expect.fail(`the handler has not run ${run + 1} times`),
    read: (replica: number, ask?: ReaderOptions) => read(port(replica), ask),
    stats: (replica: number) => shop.middlewares[replica]?.stats() ?? expect.fail('no such replica'),
    /** Waits until so many requests got, or are getting, their answer as it is made. */
    follow: (count: number) => expect.poll(() => shop.middlewares[0]?.stats().streamed, { interval: 5 }).toBe(count),
  };
}

function noop(): void {}

describe('a request that waits beside the one whose handler runs', () => {
  it('gets head and bytes while the handler still writes, also if it comes late; all get the same bytes', async () => {
    const shop = await startWritten(2);
    const leader = shop.read(0);
    await shop.allRun(1);
    const [follower, remote] = [shop.read(0), shop.read(1)];
    await shop.allWait(3);
    const response = shop.response(0);
    response.set('X-Made-By', 'the handler').write('first ');
    await follower.has('first ');
    const late = shop.read(0);
    await late.has('first ');
    response.write('second ');
    for (const reader of [leader, follower, late]) await reader.has('first second ');
    expect(remote.wire()).toBe(''); // another replica gets it when it is complete
    expect(follower.wire()).toContain('x-made-by: the handler');
    response.end('last');
    for (const reader of [leader, follower, late, remote]) {
      expect(await reader.end()).toBe('complete');
      expect(reader.body()).toBe('first second last');
    }
    expect(shop.calls).toHaveLength(1);
    expect(shop.stats(0)).toMatchObject({ replayed: 2, streamed: 2, truncated: 0, capturing: 0, capturedBytes: 0 });
    expect(shop.collapsers[0]?.stats().totals).toMatchObject({ leader: 1, local: 2, aborts: 0 });
  });

  it('gets the head alone where the handler sends it before its body, and the length that it says', async () => {
    const shop = await startWritten(1);
    shop.read(0);
    await shop.allRun(1);
    const follower = shop.read(0);
    await shop.allWait(2);
    shop.response(0).set('Content-Length', '5').flushHeaders();
    await expect.poll(follower.wire).toContain('Content-Length: 5');
    shop.response(0).end('seats');
    expect([await follower.end(), follower.body()]).toEqual(['complete', 'seats']);
  });

  it('gets it encoded for itself with compression mounted outside, when the handler flushes', async () => {
    const shop = await startWritten(1, {}, { before: [compression({ threshold: 0 })] });
    shop.read(0, { headers: { 'Accept-Encoding': 'gzip' } });
    await shop.allRun(1);
    const follower = shop.read(0, { headers: { 'Accept-Encoding': 'br' } });
    await shop.allWait(2);
    shop.response(0).type('text').write('seats '.repeat(100));
    await shop.follow(1);
    (shop.response(0) as Response & { flush(): void }).flush();
    const partial = (): string =>
      brotliDecompressSync(Buffer.from(follower.body(), 'latin1'), { finishFlush: constants.BROTLI_OPERATION_FLUSH }).toString();
    await expect.poll(partial).toBe('seats '.repeat(100));
    shop.response(0).end('end');
    expect([await follower.end(), partial()]).toEqual(['complete', `${'seats '.repeat(100)}end`]);
  });

  it('turns to its own variant as soon as the head says that it is another one, together with others of its kind', async () => {
    const shop = await startWritten(2, { statusHeader: true });
    const asIn = (language: string) => ({ headers: { 'Accept-Language': language } });
    shop.read(0, asIn('de'));
    await shop.allRun(1);
    const readers = [shop.read(0, asIn('fr')), shop.read(0, asIn('fr')), shop.read(0, asIn('de'))];
    await shop.allWait(4);
    shop.response(0).vary('Accept-Language').write('noch nicht');
    await shop.allRun(2); // the first answer is still under way
    await shop.allWait(3);
    shop.response(1).vary('Accept-Language').end('en français');
    shop.response(0).end(' fertig');
    for (const reader of readers) expect(await reader.end()).toBe('complete');
    expect(readers.map((reader) => reader.body())).toEqual(['en fran\u00c3\u00a7ais', 'en fran\u00c3\u00a7ais', 'noch nicht fertig']);
    expect(readers.map((reader) => /cache-status: (.*)/i.exec(reader.wire())?.[1])).toEqual([
      'oneflight; fwd=vary-miss',
      'oneflight; fwd=vary-miss; collapsed',
      'oneflight; fwd=miss; collapsed',
    ]);
    expect(shop.calls).toHaveLength(2);
  });

  it('has its own condition answered by the head if the handler made a validator, else by the whole', async () => {
    const shop = await startWritten(1);
    shop.read(0);
    await shop.allRun(1);
    const known = shop.read(0, { headers: { 'If-None-Match': '"1"' } });
    await shop.allWait(2);
    shop.response(0).set('ETag', '"1"').write('part');
    expect(await known.end()).toBe('complete');
    expect(known.wire()).toMatch(/^HTTP\/1.1 304/);
    shop.response(0).end();

    shop.read(0, { path: '/untagged' });
    await shop.allRun(2);
    const conditional = shop.read(0, { path: '/untagged', headers: { 'If-None-Match': '"1"' } });
    await shop.allWait(2);
    const follower = shop.read(0, { path: '/untagged' });
    await shop.allWait(3);
    shop.response(1).write('part');
    await follower.has('part');
    expect(conditional.wire()).toBe('');
    shop.response(1).end(' rest');
    expect([await conditional.end(), conditional.body()]).toEqual(['complete', 'part rest']);
    expect(conditional.wire()).toMatch(/etag: W\//i);
  });

  it('waits for the whole if its protocol could not tell it that a part is not all', async () => {
    const shop = await startWritten(1);
    shop.read(0);
    await shop.allRun(1);
    const [old, follower] = [shop.read(0, { http: '1.0' }), shop.read(0)];
    await shop.allWait(3);
    shop.response(0).write('part');
    await follower.has('part');
    expect(old.wire()).toBe('');
    shop.response(0).end(' rest');
    expect([await old.end(), old.body()]).toEqual(['complete', 'part rest']);
  });
});

describe('an answer that breaks off in the middle', () => {
  it.each<[string, (response: Response, request: Request) => void]>([
    ['the handler destroys it', (response) => void response.destroy()],
    ['the handler fails', (_response, request) => request.next?.(fail())],
    ['it is shorter than its head says', (response) => void response.end()],
    ['it is longer than its head says', (response) => void response.end('123456789')],
  ])('because %s never looks complete to those who follow it; others take over', async (_how, breakOff) => {
    const shop = await startWritten(2);
    shop.read(0);
    await shop.allRun(1);
    const [follower, remote] = [shop.read(0), shop.read(1)];
    await shop.allWait(3);
    const [request] = shop.requests;
    shop.response(0).set('Content-Length', '10').write('part');
    await follower.has('part');
    breakOff(shop.response(0), request ?? expect.fail('no request'));
    expect(await follower.end()).toBe('truncated');
    await shop.allRun(2);
    shop.response(1).end('whole');
    expect([await remote.end(), remote.body()]).toEqual(['complete', 'whole']);
    expect(shop.stats(0)).toMatchObject({ truncated: 1, capturing: 0, capturedBytes: 0 });
    expect(shop.calls).toHaveLength(2);
  });

  it.each(['nothing', 'its request'])('is not what follows when its own caller leaves and the handler watches %s', async (watched) => {
    const shop = await startWritten(1);
    const leader = shop.read(0);
    await shop.allRun(1);
    const follower = shop.read(0);
    await shop.allWait(2);
    const [response, request] = [shop.response(0), shop.requests[0]];
    const told: string[] = [];
    if (watched === 'its request') for (const event of ['aborted', 'close']) request?.on(event, () => void told.push(event));
    response.write('part ');
    await follower.has('part ');
    leader.socket.destroy();
    await expect.poll(() => shop.collapsers[0]?.stats().totals.aborts).toBe(1);
    response.write('more ');
    await follower.has('part more ');
    expect(told).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 2_200)); // longer than those who only wait have patience with it
    response.end('end');
    expect([await follower.end(), follower.body()]).toEqual(['complete', 'part more end']);
    expect(shop.calls).toHaveLength(1);
  });

  it('is told to a handler whose caller has left, when the last who followed leaves too', async () => {
    const shop = await startWritten(1);
    const leader = shop.read(0);
    await shop.allRun(1);
    const follower = shop.read(0);
    await shop.allWait(2);
    let closed = 0;
    shop.response(0).once('close', () => (closed += 1));
    shop.response(0).write('part');
    await follower.has('part');
    leader.socket.destroy();
    await expect.poll(() => shop.collapsers[0]?.stats().totals.aborts).toBe(1);
    expect(closed).toBe(0);
    follower.socket.destroy();
    await expect.poll(() => closed).toBe(1);
    expect(shop.stats(0)).toMatchObject({ capturing: 0, capturedBytes: 0 });
  });
});

const chunk = Buffer.alloc(64 * 1024, 'x');
const CHUNKS = 320; // 20 MiB, more than all buffers of two sockets on the way
const WINDOW = 32;

describe('a body that is too large to be kept', () => {
  const options: CollapseOptions = { limits: { bodyBytesMax: WINDOW * chunk.byteLength } };

  /** Writes it as `pipe` does, at the pace that the response sets; notes the most that is held at one time. */
  function writeAll(shop: Awaited<ReturnType<typeof startWritten>>, begun: Promise<void>, held: { most: number }): Promise<void> {
    async function* chunks() {
      for (let n = 0; n < CHUNKS; n += 1) {
        yield chunk;
        held.most = Math.max(held.most, shop.stats(0).capturedBytes);
        if (n === 0) await begun;
        await new Promise((resolve) => setImmediate(resolve)); // as a source does that reads from elsewhere
      }
    }
    return new Promise((resolve) => {
      const source = Readable.from(chunks());
      source.on('end', resolve);
      source.pipe(shop.response(0));
    });
  }

  async function startLarge(slow: 'leader' | 'follower' | undefined, outside: readonly RequestHandler[] = []) {
    const shop = await startWritten(2, options, { before: outside }, (_request, response) => void response.type('bin'));
    const leader = shop.read(0, { paused: slow === 'leader' });
    await shop.allRun(1);
    const follower = shop.read(0);
    await shop.allWait(2);
    const other = slow === 'follower' ? shop.read(0, { paused: true }) : shop.read(1);
    await shop.allWait(3);
    const held = { most: 0 };
    const written = writeAll(shop, shop.follow(slow === 'follower' ? 2 : 1), held);
    return { shop, leader, follower, other, held, written };
  }

  it('goes on to those who get it as it is made; other replicas run for themselves, and little is held', async () => {
    const { shop, leader, follower, other, held } = await startLarge(undefined);
    await shop.allRun(2);
    shop.response(1).end('own');
    expect([await other.end(), other.body()]).toEqual(['complete', 'own']);
    for (const reader of [leader, follower])
      expect([await reader.end(), reader.body().length]).toEqual(['complete', CHUNKS * chunk.byteLength]);
    expect(held.most).toBeLessThanOrEqual((2 * WINDOW + 2) * chunk.byteLength);
    expect(shop.stats(0)).toMatchObject({ unshareable: { too_large: 1 }, truncated: 0, capturing: 0, capturedBytes: 0 });
  });

  it.each<[string, readonly RequestHandler[]]>([
    ['', []],
    [', with compression mounted outside', [compression({ threshold: 0, filter: () => true })]],
  ])('is not held up by a caller that reads nothing, whose handler makes it: that one is cut%s', async (_how, outside) => {
    const { shop, leader, follower, other, held, written } = await startLarge('leader', outside);
    await shop.allRun(2);
    shop.response(1).end('own');
    await other.end();
    await written;
    expect([await follower.end(), follower.body().length]).toEqual(['complete', CHUNKS * chunk.byteLength]);
    leader.socket.resume();
    expect(await leader.end()).toBe('truncated');
    expect(held.most).toBeLessThanOrEqual((2 * WINDOW + 2) * chunk.byteLength);
    expect(shop.stats(0)).toMatchObject({ capturing: 0, capturedBytes: 0 });
  });

  it('is not held up by one that follows and reads nothing: that one is cut, and counted', async () => {
    const { shop, leader, follower, other, held } = await startLarge('follower');
    for (const reader of [leader, follower])
      expect([await reader.end(), reader.body().length]).toEqual(['complete', CHUNKS * chunk.byteLength]);
    other.socket.resume();
    expect(await other.end()).toBe('truncated');
    expect(held.most).toBeLessThanOrEqual((2 * WINDOW + 2) * chunk.byteLength);
    expect(shop.stats(0)).toMatchObject({ truncated: 1, capturing: 0, capturedBytes: 0 });
  });

  it('makes the handler wait when all who get it are slow, and goes on when one of them reads', async () => {
    const shop = await startWritten(1, options, {}, (_request, response) => void response.type('bin'));
    const leader = shop.read(0, { paused: true });
    await shop.allRun(1);
    const follower = shop.read(0, { paused: true });
    await shop.allWait(2);
    const held = { most: 0 };
    const written = writeAll(shop, shop.follow(1), held);
    await expect.poll(() => shop.response(0).writableNeedDrain && shop.stats(0).unshareable.too_large === 1).toBe(true);
    await expect.poll(() => shop.stats(0).capturedBytes).toBeGreaterThan(0);
    follower.socket.resume();
    await written;
    expect([await follower.end(), follower.body().length]).toEqual(['complete', CHUNKS * chunk.byteLength]);
    leader.socket.destroy();
  });
});

describe('one that follows and reads nothing', () => {
  it('holds up nobody, and gets all of an answer that is small enough to be kept', async () => {
    const size = 3_000_000;
    const shop = await startWritten(1, { limits: { bodyBytesMax: 2 * size } });
    const leader = shop.read(0);
    await shop.allRun(1);
    const [slow, fast] = [shop.read(0, { paused: true }), shop.read(0)];
    await shop.allWait(3);
    const response = shop.response(0);
    response.write(Buffer.alloc(size / 2, 'a'));
    await shop.follow(2);
    response.end(Buffer.alloc(size / 2, 'b'));
    for (const reader of [leader, fast]) expect([await reader.end(), reader.body().length]).toEqual(['complete', size]);
    slow.socket.resume();
    expect([await slow.end(), slow.body().length]).toEqual(['complete', size]);
  });
});

function fail(): Error {
  return Object.assign(new Error('no seats'), { stack: 'Error: no seats' });
}
