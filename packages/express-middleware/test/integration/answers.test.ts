import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { brotliCompressSync, gzipSync } from 'node:zlib';

import type { RequestHandler } from 'express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { CollapseOptions } from '../../src/index.js';
import { type Answer, startShop } from '../support/shop.js';

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 256));
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oneflight-answers-'));
  await writeFile(join(folder, 'seats.bin'), bytes);
});

afterAll(() => rm(folder, { recursive: true }));

describe('others get what the handler answered', () => {
  it.each<[string, RequestHandler]>([
    ['by json', (_request, response) => void response.json({ seats: ['ä', '座'] })],
    ['by send of a text', (_request, response) => void response.send('<p>seats</p>')],
    ['by send of bytes', (_request, response) => void response.type('png').send(bytes)],
    ['by end alone', (_request, response) => void response.end()],
    ['by end of a text in an encoding', (_request, response) => void response.end('c3a4', 'hex')],
    ['by end with a callback', (_request, response) => void response.end('seats', () => {})],
    ['by write after write', (_request, response) => void [response.write('a'), response.write(Buffer.from('b')), response.end('c')]],
    ['by a buffer that it fills again', (_request, response) => writeTwice(response)],
    ['by pipe', (_request, response) => void Readable.from([bytes.subarray(0, 1000), bytes.subarray(1000)]).pipe(response)],
    ['by pipeline', async (_request, response) => pipeline(Readable.from([bytes, bytes]), response)],
    ['by sendFile', (_request, response) => response.sendFile(join(folder, 'seats.bin'))],
    ['by sendStatus', (_request, response) => void response.sendStatus(404)],
    ['by status without content', (_request, response) => void response.status(204).end()],
    ['by a permanent redirect', (_request, response) => response.redirect(301, '/elsewhere')],
    ['by a status message of its own', (_request, response) => void response.writeHead(200, 'Fine Seats').end('x')],
    ['by a status message set before', (_request, response) => void Object.assign(response, { statusMessage: 'Good' }).end('x')],
    ['by writeHead with an object', (_request, response) => void response.writeHead(203, { 'X-A': 'a', 'X-N': 5 }).end('x')],
    ['by writeHead with nothing and an object', (_request, response) => void response.writeHead(200, undefined, { 'X-A': 'a' }).end()],
    ['by writeHead with a message and a list', (_request, response) => void response.writeHead(200, 'M', ['X-A', 'a', 'X-B', 'b']).end()],
    ['by writeHead with values in lists', (_request, response) => void response.writeHead(200, ['Link', ['<a>', '<b>']] as never).end()],
    ['by headers in several lines', (_request, response) => void response.set('Link', ['<a>', '<b>']).append('Link', '<c>').send('x')],
    ['after early hints', (_request, response) => response.writeEarlyHints({ link: '</a.css>; rel=preload' }, () => response.send('x'))],
    ['after it flushed its headers', (_request, response) => void [response.set('X-A', 'a').flushHeaders(), response.end('x')]],
    ['without a header that was set before', (_request, response) => void [response.removeHeader('X-Before'), response.send('x')]],
    ['with a header changed that was set before', (_request, response) => void response.set('X-Before', 'changed').send('x')],
    ['in gzip of its own', (_request, response) => void response.set('Content-Encoding', 'gzip').send(gzipSync('seats'))],
    ['in brotli of its own', (_request, response) => void response.set('Content-Encoding', 'br').send(brotliCompressSync('seats'))],
    ['with the Date of another server', (_request, response) => void response.set('Date', 'Thu, 01 Jan 1970 00:00:00 GMT').send('x')],
    ['by nothing but a next()', (_request, _response, next) => next()],
  ])('%s', async (_how, handler) => {
    const before: RequestHandler = (_request, response, next) => void [response.set('X-Before', 'set'), next()];
    const alone = await startShop(1, handler, { skip: () => true }, { before: [before] });
    const expected = await alone.ask(0, {});
    const { answers, calls } = await askThree(handler, before);
    for (const answer of answers) {
      expect(comparable(answer, expected)).toEqual(comparable(expected, expected));
      expect(answer.raw.equals(expected.raw)).toBe(true);
      const length = answer.headers['content-length'];
      if (length !== undefined) expect(Number(length)).toBe(expected.raw.byteLength);
    }
    expect(calls).toHaveLength(1);
  });

  it.each<[string, RequestHandler]>([
    ['a synchronous throw', () => fail()],
    ['an asynchronous rejection', async () => fail()],
    ['next(error)', (_request, _response, next) => next(new Error('no seats'))],
  ])('but of %s only its own caller hears; one other takes over at a time', async (_how, fails) => {
    let runs = 0;
    const { answers, calls } = await askThree((request, response, next) => {
      runs += 1;
      return runs === 1 ? fails(request, response, next) : void response.send('seats');
    });
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 500]);
    expect(calls).toHaveLength(2);
  });

  it('but no trailers: then each runs for itself', async () => {
    const { answers, calls } = await askThree((_request, response) => {
      response.write('a');
      response.addTrailers({ 'X-Checksum': '1' });
      response.end('b');
    });
    expect(answers.map(({ body }) => body)).toEqual(['ab', 'ab', 'ab']);
    expect(calls).toHaveLength(3);
  });

  it('but not the prefix of one that is shorter than it says', async () => {
    let count = 0;
    const { calls } = await askThree(
      (_request, response) => {
        count += 1;
        if (count > 1) response.send('whole');
        else response.writeHead(200, { 'Content-Length': '10' }).end('part');
      },
      undefined,
      true,
    );
    expect(calls).toHaveLength(3);
  });

  it('never what belongs to the leader, its connection or the moment', async () => {
    const own = {
      ...{ 'X-Request-Id': 'leader', 'X-Correlation-Id': 'leader', Traceparent: 'leader', 'Server-Timing': 'db;dur=5', Hop: 'leader' },
      ...{ 'RateLimit-Remaining': '7', 'X-RateLimit-Limit': '9', 'Cache-Status': 'Origin; hit', 'Proxy-Connection': 'leader' },
    };
    const { answers } = await askThree((request, response) => {
      response.set({ ...own, Connection: 'Hop', 'X-Shared': request.get('x-caller') }).send('seats');
    });
    const [leader, ...others] = answers;
    expect(leader?.headers).toMatchObject({ 'server-timing': 'db;dur=5', hop: 'leader', 'ratelimit-remaining': '7' });
    for (const { headers } of others) {
      for (const name of Object.keys(own)) if (name !== 'X-Request-Id') expect(headers).not.toHaveProperty(name.toLowerCase());
      expect(headers).toMatchObject({ 'x-shared': '0' });
      expect(headers['x-request-id']).not.toBe('leader');
    }
  });
});

/** Asks one replica twice and another once, while the first request's handler waits. */
async function askThree(handler: RequestHandler, before?: RequestHandler, mayFail = false, options?: CollapseOptions) {
  const waitForGate: RequestHandler = async (_request, _response, next) => {
    await shop.gate;
    next();
  };
  const shop = await startShop(2, handler, options, { before: before === undefined ? [] : [before], inside: [waitForGate] });
  const asked: Promise<Answer | Error>[] = [];
  for (const [index, replica] of [0, 0, 1].entries()) {
    const asking = shop.ask(replica, { headers: { 'x-caller': String(index), 'accept-encoding': 'gzip, br' } });
    asked.push(mayFail ? asking.catch((error: Error) => error) : asking);
    await shop.allWait(index + 1);
  }
  shop.open();
  const answers = await Promise.all(asked);
  return { answers: answers.filter((answer): answer is Answer => !(answer instanceof Error)), calls: shop.calls };
}

/** An ETag is ours where the handler made none; the length of a body is known only to those who get it whole. */
function comparable({ status, message, headers }: Answer, expected: Answer): unknown {
  const {
    date,
    connection,
    'keep-alive': _,
    'transfer-encoding': __,
    'content-length': ___,
    etag,
    'x-request-id': ____,
    ...rest
  } = headers;
  const isHandlersDate = expected.headers.date?.includes('1970') === true;
  return {
    status,
    message,
    ...rest,
    ...(expected.headers.etag !== undefined && { etag }),
    ...(isHandlersDate && { date }),
    hop: connection === undefined,
  };
}

function fail(): never {
  throw Object.assign(new Error('no seats'), { stack: 'Error: no seats' });
}

function writeTwice(response: { write(chunk: Buffer): unknown; end(): unknown }): void {
  const buffer = Buffer.from('first');
  response.write(buffer);
  setImmediate(() => {
    buffer.write('again');
    response.write(buffer);
    response.end();
  });
}
