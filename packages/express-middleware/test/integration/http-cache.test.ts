import { Agent, request as send } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

import compression from 'compression';
import type { RequestHandler } from 'express';
import { describe, expect, it } from 'vitest';

import type { CollapseOptions } from '../../src/index.js';
import { movingClock } from '../support/moving-clock.js';
import { type Answer, type Ask, startShop } from '../support/shop.js';

type Headers = Record<string, string>;

/** Two replicas that keep answers; the handler says `v1`, `v2`, … with these headers. */
async function startCache(headers: Headers | ((version: number) => Headers), options: CollapseOptions = {}, handler?: RequestHandler) {
  const clock = movingClock();
  let version = 0;
  const counting: RequestHandler = (_request, response) => {
    version++;
    response.set(typeof headers === 'function' ? headers(version) : headers).end(`v${version}`);
  };
  const shop = await startShop(2, handler ?? counting, { cache: 'http', statusHeader: true, ...options }, { clock });
  let turn = 0;
  return {
    ...shop,
    clock,
    /** Asks one replica after the other. */
    get: (what: Ask = {}) => shop.ask(turn++ % 2, what),
  };
}

const control = (value: string): Ask => ({ headers: { 'cache-control': value } });
const told = ({ status, body, headers }: Answer): string =>
  `${status} ${body} age ${headers.age ?? '-'} ${String(headers['cache-status'])}`;

describe('an answer that says how long it is fresh', () => {
  it('answers requests on every replica for that long, with its age', async () => {
    const { get, clock, calls } = await startCache({ 'Cache-Control': 'max-age=60' });
    expect(told(await get())).toBe('200 v1 age - oneflight; fwd=uri-miss; stored');
    clock.advance(10_000);
    expect(told(await get())).toBe('200 v1 age 10 oneflight; hit; ttl=49');
    clock.advance(49_000);
    expect((await get()).body).toBe('v1');
    clock.advance(1_500);
    expect(told(await get())).toMatch(/^200 v2 age - oneflight; fwd=(stale|uri-miss); stored$/);
    expect(calls).toHaveLength(2);
  });

  it.each([
    ['s-maxage before max-age', { 'Cache-Control': 's-maxage=60, max-age=0' }],
    ['CDN-Cache-Control before all else', { 'CDN-Cache-Control': 'max-age=60', 'Cache-Control': 'max-age=0, no-cache', Expires: '0' }],
    ['Cache-Control where CDN-Cache-Control cannot be read', { 'CDN-Cache-Control': 'max-age=', 'Cache-Control': 'max-age=60' }],
    ['Expires', { Expires: new Date(Date.now() + 120_000).toUTCString() }],
    ['max-age before Expires', { 'Cache-Control': 'max-age=60', Expires: '0' }],
  ])('is kept by %s', async (_what, headers) => {
    const { get, clock } = await startCache(headers);
    await get();
    clock.advance(59_000);
    expect((await get()).body).toBe('v1');
  });

  it.each<[string, Headers]>([
    ['without a word about it', {}],
    ['with an Expires that is no date', { Expires: '0' }],
    ['with an Expires that only JavaScript can read', { Expires: '2099-01-01' }],
    ['with max-age twice', { 'Cache-Control': 'max-age=60, max-age=70' }],
    ['with a max-age that is no number', { 'Cache-Control': 'max-age=60s' }],
    ['with a negative max-age', { 'Cache-Control': 'max-age=-1', Expires: new Date(Date.now() + 60_000).toUTCString() }],
    ['that was old when it was made', { 'Cache-Control': 'max-age=60', Age: '60' }],
    ['made long ago', { 'Cache-Control': 'max-age=60', Date: new Date(Date.now() - 61_000).toUTCString() }],
    ['with no-cache', { 'Cache-Control': 'max-age=60, no-cache' }],
    ['with no-store', { 'Cache-Control': 'max-age=60, no-store' }],
    ['with private', { 'Cache-Control': 'max-age=60, private' }],
    ['with Set-Cookie', { 'Cache-Control': 'public, max-age=60', 'Set-Cookie': 'a=b' }],
    ['with Vary: *', { 'Cache-Control': 'max-age=60', Vary: '*' }],
    ['that CDN-Cache-Control forbids to keep', { 'Cache-Control': 'max-age=60', 'CDN-Cache-Control': 'no-store' }],
  ])('is not given to later requests %s', async (_what, headers) => {
    const { get } = await startCache(headers);
    expect([(await get()).body, (await get()).body]).toEqual(['v1', 'v2']);
  });
});

it('as old as can be, which is complete later than its head, answers all who wait', async () => {
  const headers = { 'Cache-Control': 'max-age=31536000', ETag: '"1"', Age: '99999999' };
  const { ask, allRun, allWait, gate, open, calls, collapsers } = await startCache({}, {}, async (_request, response) => {
    response.set(headers).write('se');
    await gate;
    response.end('ats');
  });
  const leader = ask(0, {});
  await allRun(1);
  const follower = ask(1, {});
  await allWait(2);
  open();
  expect([(await leader).body, (await follower).body]).toEqual(['seats', 'seats']);
  expect(calls).toHaveLength(1);
  expect(collapsers.map((collapser) => collapser.stats().flights)).toEqual([0, 0]);
});

describe('a request', () => {
  it.each<[string, number, Ask, string]>([
    ['max-age that is met', 10, control('max-age=20'), 'v1'],
    ['max-age that is not met', 30, control('max-age=20'), 'v2'],
    ['max-age that cannot be read', 1, control('max-age=abc'), 'v2'],
    ['no-cache', 1, control('no-cache'), 'v2'],
    ['Pragma: no-cache alone', 1, { headers: { pragma: 'no-cache' } }, 'v2'],
    ['Pragma: no-cache beside Cache-Control', 1, { headers: { pragma: 'no-cache', 'cache-control': 'max-age=20' } }, 'v1'],
    ['min-fresh that is met', 10, control('min-fresh=40'), 'v1'],
    ['min-fresh that is not met', 30, control('min-fresh=40'), 'v2'],
    ['max-stale that is met', 70, control('max-stale=20'), 'v1'],
    ['max-stale that is not met', 90, control('max-stale=20'), 'v2'],
    ['max-stale without a limit', 900, control('max-stale'), 'v1'],
    ['no-store', 1, control('no-store'), 'v2'],
    ['only-if-cached that is met', 10, control('only-if-cached'), 'v1'],
  ])('with %s gets what it asks for', async (_what, afterS, ask, expected) => {
    const { get, clock } = await startCache({ 'Cache-Control': 'max-age=60', ETag: '"1"' });
    await get();
    clock.advance(afterS * 1_000);
    expect((await get(ask)).body).toBe(expected);
  });

  it('with max-stale never gets an answer that must be asked about', async () => {
    for (const directive of ['must-revalidate', 'proxy-revalidate', 's-maxage=60']) {
      const { get, clock } = await startCache({ 'Cache-Control': `max-age=60, ${directive}`, ETag: '"1"' });
      await get();
      clock.advance(61_000);
      expect((await get(control('max-stale'))).body).toBe('v2');
    }
  });

  it('with only-if-cached for which nothing is stored gets 504, and no handler runs', async () => {
    const { get, calls, middlewares } = await startCache({ 'Cache-Control': 'max-age=60' });
    expect((await get(control('only-if-cached'))).status).toBe(504);
    expect(calls).toEqual([]);
    expect(middlewares[0]?.stats().missing).toBe(1);
  });

  it('that reloads renews what is stored for all', async () => {
    const { get } = await startCache({ 'Cache-Control': 'max-age=60' });
    await get();
    expect(told(await get(control('no-cache')))).toBe('200 v2 age - oneflight; fwd=request; stored');
    expect((await get()).body).toBe('v2');
  });
});

describe('a stale answer', () => {
  const FRESH = { 'Cache-Control': 'max-age=60', ETag: '"1"', 'Content-Type': 'text/plain; charset=utf-8' };

  it('is asked about with its validators, and a 304 renews it for all with the headers that it brings', async () => {
    const asked: unknown[] = [];
    const { get, clock, calls, middlewares } = await startCache({}, {}, (request, response) => {
      asked.push([request.get('if-none-match'), request.get('if-modified-since')]);
      response.set({ ...FRESH, 'Last-Modified': MODIFIED, 'X-Turn': String(calls.length) });
      if (request.get('if-none-match') === '"1"') response.status(304).set('Content-Type', 'text/other').end();
      else response.end('seats');
    });
    await get();
    clock.advance(61_000);
    const renewed = await get();
    expect(told(renewed)).toBe('200 seats age - oneflight; fwd=stale; fwd-status=304; stored');
    expect(renewed.headers).toMatchObject({ 'x-turn': '2', 'content-type': 'text/plain; charset=utf-8', 'content-length': '5' });
    clock.advance(50_000);
    const later = await get();
    expect(told(later)).toBe('200 seats age 50 oneflight; hit; ttl=9');
    expect(later.headers['x-turn']).toBe('2');
    expect(asked).toEqual([
      [undefined, undefined],
      ['"1"', MODIFIED],
    ]);
    expect(middlewares.map((middleware) => middleware.stats().revalidated)).toContain(1);
  });

  it('that turns out to have changed is replaced', async () => {
    const { get, clock } = await startCache((version) => ({ ...FRESH, ETag: `"${version}"` }));
    await get();
    clock.advance(61_000);
    expect(told(await get())).toBe('200 v2 age - oneflight; fwd=stale; stored');
    expect((await get()).body).toBe('v2');
  });

  it('whose 304 says that it is private is given to nobody else', async () => {
    const { get, clock, calls } = await startCache({}, {}, (request, response) => {
      if (request.get('if-none-match') === undefined) response.set(FRESH).end('seats');
      else response.status(304).set('Cache-Control', 'private').end();
    });
    await get();
    clock.advance(61_000);
    expect((await get()).body).toBe('seats');
    await get();
    expect(calls).toHaveLength(3);
  });

  it.each<[string, RequestHandler]>([
    ['by status and end', (_request, response) => void response.status(304).end()],
    ['by writeHead', (_request, response) => void response.writeHead(304, { 'X-Turn': 'two' }).end()],
    [
      'by writeHead and a body that is none',
      (_request, response) => void [response.writeHead(304), response.write('x'), response.end('y')],
    ],
    ['by flushHeaders', (_request, response) => void [response.status(304).flushHeaders(), response.end()]],
    ['by Express itself', (_request, response) => void response.set(FRESH).send('seats')],
  ])('is renewed by a 304 that is written %s', async (_what, validate) => {
    const { get, clock } = await startCache({}, {}, (request, response, next) => {
      if (request.get('if-none-match') === undefined) response.set(FRESH).send('seats');
      else void validate(request, response, next);
    });
    await get();
    clock.advance(61_000);
    const [renewed, own] = [await get({ headers: { 'if-none-match': '"0"' } }), await get({ headers: { 'if-none-match': '"1"' } })];
    expect([renewed.status, renewed.body, own.status, own.body]).toEqual([200, 'seats', 304, '']);
  });

  it('is not given to its own caller in place of a 304 that it asked for', async () => {
    const { get, clock } = await startCache({}, {}, (_request, response) => void response.set(FRESH).send('seats'));
    await get();
    clock.advance(61_000);
    expect((await get({ headers: { 'if-none-match': '"1"' } })).status).toBe(304);
  });

  it.each([500, 502, 503, 504])('answers for stale-if-error in place of a %d, each time until it ends, with its age', async (status) => {
    let fails = false;
    const { get, clock, calls } = await startCache({}, {}, (_request, response) => {
      response.set({ 'Cache-Control': 'max-age=60, stale-if-error=60', 'X-Fails': String(fails) });
      response.status(fails ? status : 200).end(fails ? 'sorry' : 'seats');
    });
    await get();
    fails = true;
    clock.advance(70_000);
    const saved = await get();
    expect(told(saved)).toBe(`200 seats age 70 oneflight; fwd=stale; fwd-status=${status}`);
    expect(saved.headers['x-fails']).toBe('false');
    for (let second = 0; second < 19; second++) {
      clock.advance(1_000);
      expect((await get()).body).toBe('seats');
    }
    expect(calls).toHaveLength(21);
    clock.advance(40_000);
    expect((await get()).status).toBe(status);
  });

  it.each<[string, string, Ask]>([
    ['without stale-if-error', 'max-age=60', {}],
    ['with must-revalidate', 'max-age=60, stale-if-error=600, must-revalidate', {}],
    ['with s-maxage', 's-maxage=60, stale-if-error=600', {}],
    ['for a request that reloads', 'max-age=60, stale-if-error=600', control('no-cache')],
    ['for a request with max-age', 'max-age=60, stale-if-error=600', control('max-age=600')],
  ])('never answers in place of an error %s', async (_what, value, ask) => {
    let fails = false;
    const { get, clock } = await startCache({}, {}, (_request, response) => {
      response
        .set('Cache-Control', value)
        .status(fails ? 503 : 200)
        .end('seats');
    });
    await get();
    fails = true;
    clock.advance(70_000);
    expect((await get(ask)).status).toBe(503);
  });

  it('answers at once while one handler in the whole cluster makes a new one', async () => {
    let version = 0;
    let letEnd = (): void => {};
    const { get, clock, calls, allRun } = await startCache({}, {}, async (_request, response) => {
      const mine = ++version;
      if (mine > 1) await new Promise<void>((resolve) => (letEnd = resolve));
      response.set('Cache-Control', 'max-age=60, stale-while-revalidate=60').end(`v${mine}`);
    });
    await get();
    clock.advance(70_000);
    const stale = await Promise.all(Array.from({ length: 8 }, () => get()));
    expect(stale.map(told)).toEqual(Array(8).fill('200 v1 age 70 oneflight; hit; ttl=-11'));
    await allRun(2);
    letEnd();
    await expect.poll(async () => (await get()).body, { interval: 10 }).toBe('v2');
    expect(calls).toHaveLength(2);
  });

  it('is never given beyond its time to be revalidated, nor for it where it must be asked about', async () => {
    for (const [value, afterMs] of [
      ['max-age=60, stale-while-revalidate=10', 71_000],
      ['s-maxage=60, stale-while-revalidate=100', 70_000],
      ['max-age=60, must-revalidate, stale-while-revalidate=100', 70_000],
    ] as const) {
      const { get, clock } = await startCache({ 'Cache-Control': value });
      await get();
      clock.advance(afterMs);
      expect((await get()).body).toBe('v2');
    }
  });

  const MODIFIED = 'Mon, 01 Jun 2026 10:00:00 GMT';
});

describe('a refresh of what its caller was answered with', () => {
  const CONTROL = 'max-age=60, stale-while-revalidate=600';

  it.each<[string, RequestHandler]>([
    ['json', (_request, response) => void response.json({ seats: 2 })],
    ['a stream', (_request, response) => void Readable.from(['{"seats"', ':2}']).pipe(response.type('json'))],
    ['a pipeline', (_request, response) => void pipeline(Readable.from(['{"seats"', ':2}']), response.type('json'), () => {})],
    ['in parts', (_request, response) => void [response.type('json').write('{"seats"'), response.end(':2}')]],
    ['a file', (_request, response) => response.sendFile(fileURLToPath(new URL('seats.json', import.meta.url)))],
    ['by an error and its handler', (_request, _response, next) => next(Object.assign(new Error('gone'), { status: 410 }))],
  ])('runs the handler on a response as good as new: %s', async (_what, answer) => {
    const heard: string[] = [];
    const { get, clock, calls } = await startCache({}, {}, (request, response, next) => {
      for (const event of ['finish', 'close']) response.once(event, () => heard.push(event));
      response.set('Cache-Control', CONTROL);
      if (calls.length === 1) response.json({ seats: 1 });
      else void answer(request, response, next);
    });
    await get();
    clock.advance(61_000);
    expect((await get()).body).toBe('{"seats":1}');
    await expect.poll(async () => (await get()).headers.age, { interval: 10 }).toBe('0');
    const fresh = await get();
    if (fresh.status === 200) expect(JSON.parse(fresh.body)).toEqual({ seats: 2 });
    else expect(fresh.status).toBe(410);
    expect(calls).toHaveLength(2);
    await expect.poll(() => heard.filter((event) => event === 'close')).toHaveLength(2);
  });

  it('that fails is followed by the handler of one who waits for it, on every replica', async () => {
    const shop = await startCache({}, {}, async (_request, response) => {
      const turn = shop.calls.length;
      if (turn === 2) await shop.gate;
      response
        .status(turn === 2 ? 503 : 200)
        .set('Cache-Control', CONTROL)
        .end(`v${turn}`);
    });
    await shop.ask(0, {});
    shop.clock.advance(61_000);
    expect((await shop.ask(0, {})).body).toBe('v1');
    await shop.allRun(2);
    const waiting = [0, 0, 1].map((replica) => shop.ask(replica, control('max-age=5')));
    await shop.allWait(3);
    shop.open();
    expect((await Promise.all(waiting)).map(({ status, body }) => `${status} ${body}`)).toEqual(['200 v3', '200 v3', '200 v3']);
    expect(shop.calls).toHaveLength(3);
  });

  it('leaves the connection of its caller alone, which may carry the next request meanwhile', async () => {
    let letEnd = (): void => {};
    const shop = await startCache({}, {}, async (request, response) => {
      response.set('Cache-Control', CONTROL);
      if (request.path === '/' && shop.calls.filter((call) => call === 'GET /').length > 1) {
        await new Promise<void>((resolve) => (letEnd = resolve));
        response.write('part');
        throw new Error('broke off');
      }
      response.end(request.path);
    });
    await shop.ask(0, {});
    shop.clock.advance(61_000);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const through = (path: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const request = send({ host: '127.0.0.1', port: shop.ports[0], path, agent, headers: { host: 'shop.example' } }, (response) => {
          response
            .setEncoding('utf8')
            .on('data', (text: string) => resolve(text))
            .resume();
        });
        request.on('error', reject).end();
      });
    expect(await through('/')).toBe('/');
    await shop.allRun(2);
    const next = through('/other');
    letEnd();
    expect(await next).toBe('/other');
    expect(await through('/third')).toBe('/third');
    agent.destroy();
  });
});

describe('a variant', () => {
  it('is kept beside the others, and made once for each in the whole cluster', async () => {
    const { get, clock, calls } = await startCache({}, {}, (request, response) => {
      response.set({ 'Cache-Control': 'max-age=60', Vary: 'Accept-Language' }).end(`in ${request.get('accept-language')}`);
    });
    const languages = ['de', 'fr', 'it'];
    const round = () => Promise.all(languages.map((language) => get({ headers: { 'accept-language': language } })));
    for (let turn = 0; turn < 6; turn++) {
      expect((await round()).map(({ body }) => body)).toEqual(['in de', 'in fr', 'in it']);
      clock.advance(1_000);
    }
    expect(calls).toHaveLength(3);
  });

  it('that is not stored is made once for all who ask for it at a time', async () => {
    const shop = await startCache({}, {}, async (request, response) => {
      if (request.get('accept-language') === 'fr') await shop.gate;
      response.set({ 'Cache-Control': 'max-age=60', Vary: 'Accept-Language' }).end(`in ${request.get('accept-language')}`);
    });
    await shop.get({ headers: { 'accept-language': 'de' } });
    const asked = Array.from({ length: 6 }, () => shop.get({ headers: { 'accept-language': 'fr' } }));
    await shop.allWait(6);
    shop.open();
    const answers = await Promise.all(asked);
    expect(answers.map(({ body }) => body)).toEqual(Array(6).fill('in fr'));
    expect(
      answers.map(({ headers }) => headers['cache-status']).filter((status) => String(status).includes('fwd=vary-miss; stored')),
    ).toHaveLength(1);
    expect(shop.calls).toHaveLength(2);
  });

  it('beyond the 64th of a key is not kept, and answered all the same', async () => {
    const { ask, calls } = await startCache({}, {}, (request, response) => {
      response.set({ 'Cache-Control': 'max-age=60', Vary: 'X-Any' }).end(`for ${request.get('x-any')}`);
    });
    const get = async (any: number) => (await ask(0, { headers: { 'x-any': String(any) } })).body;
    for (let any = 0; any < 70; any++) expect(await get(any)).toBe(`for ${any}`);
    expect(calls).toHaveLength(70);
    expect([await get(0), await get(64), await get(65)]).toEqual(['for 0', 'for 64', 'for 65']);
    expect(calls).toHaveLength(71);
  });
});

describe('the identity', () => {
  it('is part of what an answer is stored under', async () => {
    const { get } = await startCache({}, {}, (request, response) => {
      response.set('Cache-Control', 'public, max-age=60').end(`for ${request.get('cookie')}`);
    });
    const bodies = [];
    for (const user of ['ann', 'bob', 'ann', 'bob']) bodies.push((await get({ headers: { cookie: user } })).body);
    expect(bodies).toEqual(['for ann', 'for bob', 'for ann', 'for bob']);
  });

  it.each([
    ['max-age=60', 2],
    ['public, max-age=60', 1],
    ['s-maxage=60', 1],
    ['max-age=60, must-revalidate', 1],
  ])('of a request with Authorization keeps an answer with %s from later requests unless it says so: %d loads', async (value, loads) => {
    for (const identity of ['key', 'ignore'] as const) {
      const { get, calls } = await startCache({ 'Cache-Control': value }, { identity });
      for (let turn = 0; turn < 2; turn++) await get({ headers: { authorization: 'Bearer secret' } });
      expect(calls).toHaveLength(loads);
    }
  });
});

it('made for a request with Authorization and renewed by a 304 that does not allow its use any more is not used', async () => {
  const { get, calls } = await startCache({}, { identity: 'ignore' }, (request, response) => {
    if (request.get('if-none-match') === undefined) response.set({ 'Cache-Control': 'public, max-age=60', ETag: '"1"' }).end('for one');
    else response.status(304).set('Cache-Control', 'max-age=60').end();
  });
  await get({ headers: { authorization: 'Bearer secret' } });
  await get(control('no-cache'));
  await expect.poll(async () => (await get(control('only-if-cached'))).status, { interval: 5 }).toBe(504);
  expect(calls).toHaveLength(2);
});

describe('a HEAD', () => {
  it('is answered from the stored GET', async () => {
    const { get, clock, calls } = await startCache({ 'Cache-Control': 'max-age=60', ETag: '"1"' });
    await get();
    clock.advance(5_000);
    const head = await get({ method: 'HEAD' });
    expect(told(head)).toBe('200  age 5 oneflight; hit; ttl=54');
    expect(head.headers).toMatchObject({ etag: '"1"', 'content-length': '2' });
    expect(calls).toHaveLength(1);
  });

  it('is never stored for a GET', async () => {
    const { get } = await startCache({ 'Cache-Control': 'max-age=60' });
    await get({ method: 'HEAD' });
    expect((await get()).body).toBe('v2');
  });

  it('that finds another answer removes the stored one', async () => {
    const { get, calls } = await startCache((version) => ({ 'Cache-Control': 'max-age=60', ETag: `"${version}"` }));
    await get();
    await get({ method: 'HEAD', headers: { 'cache-control': 'no-cache' } });
    await expect.poll(async () => (await get()).body, { interval: 10 }).toBe('v3');
    expect(calls).toHaveLength(3);
  });
});

describe('a part', () => {
  const start = async () => {
    const shop = await startCache({}, {}, (request, response) => {
      response.set({ 'Cache-Control': 'max-age=60', ETag: '"1"', 'Last-Modified': 'Mon, 01 Jun 2026 10:00:00 GMT' });
      if (request.headers.range === undefined) response.end('0123456789');
      else response.status(206).set('Content-Range', 'bytes 0-0/10').end('0');
    });
    await shop.get();
    return shop;
  };
  const told206 = ({ status, body, headers }: Answer) => [status, body, headers['content-range'], headers['content-length']];

  it.each<[string, unknown[]]>([
    ['bytes=2-4', [206, '234', 'bytes 2-4/10', '3']],
    ['bytes=7-', [206, '789', 'bytes 7-9/10', '3']],
    ['bytes=-2', [206, '89', 'bytes 8-9/10', '2']],
    ['bytes=-20', [206, '0123456789', 'bytes 0-9/10', '10']],
    ['bytes=8-100', [206, '89', 'bytes 8-9/10', '2']],
    ['bytes=10-', [416, '', 'bytes */10', '0']],
    ['bytes=-0', [416, '', 'bytes */10', '0']],
    ['bytes=1-2, 4-5', [200, '0123456789', undefined, '10']],
    ['bytes=4-2', [200, '0123456789', undefined, '10']],
    ['seats=1-2', [200, '0123456789', undefined, '10']],
  ])('of a stored answer is cut from it: %s', async (range, expected) => {
    const { get, calls } = await start();
    expect(told206(await get({ headers: { range } }))).toEqual(expected);
    expect(calls).toHaveLength(1);
  });

  it.each<[string, number]>([
    ['"1"', 206],
    ['W/"1"', 200],
    ['"2"', 200],
    ['Mon, 01 Jun 2026 10:00:00 GMT', 206],
    ['Tue, 02 Jun 2026 10:00:00 GMT', 200],
  ])('is given under If-Range %s with status %d', async (condition, status) => {
    const { get } = await start();
    expect((await get({ headers: { range: 'bytes=2-4', 'if-range': condition } })).status).toBe(status);
  });

  it('of an answer that is not stored, or stale, comes from its own handler', async () => {
    const { get, clock, calls } = await start();
    expect(told206(await get({ path: '/other', headers: { range: 'bytes=0-0' } }))).toEqual([206, '0', 'bytes 0-0/10', '1']);
    clock.advance(61_000);
    await get({ headers: { range: 'bytes=0-0' } });
    expect(calls).toHaveLength(3);
  });

  it('is not given where the request asks for the whole answer under a condition on a change', async () => {
    const { get, calls } = await start();
    await get({ headers: { range: 'bytes=2-4', 'if-match': '"0"' } });
    expect(calls).toHaveLength(2);
  });
});

describe('lingerMs', () => {
  it('keeps an answer that says nothing about it, cache or no cache', async () => {
    for (const cache of ['off', 'http'] as const) {
      const { get, clock } = await startCache({}, { cache, lingerMs: 2_000 });
      await get();
      clock.advance(1_000);
      expect((await get()).body).toBe('v1');
      clock.advance(1_100);
      expect((await get()).body).toBe('v2');
    }
  });

  it.each(['no-cache', 'max-age=0', 'no-store', 'private'])('keeps nothing that says %s', async (value) => {
    for (const cache of ['off', 'http'] as const) {
      const { get } = await startCache({ 'Cache-Control': value }, { cache, lingerMs: 60_000 });
      expect([(await get()).body, (await get()).body]).toEqual(['v1', 'v2']);
    }
  });

  it('without cache is the longest that any answer is kept', async () => {
    const { get, clock } = await startCache({ 'Cache-Control': 'max-age=60' }, { cache: 'off', lingerMs: 2_000 });
    await get();
    clock.advance(2_100);
    expect((await get()).body).toBe('v2');
  });

  it('keeps no failure', async () => {
    const { get, calls } = await startCache({}, { lingerMs: 60_000 }, (_request, response) => void response.status(500).end());
    expect([(await get()).status, (await get()).status]).toEqual([500, 500]);
    expect(calls).toHaveLength(2);
  });
});

it('removes what is stored when the handler says something new that may not be kept', async () => {
  for (const value of ['private, max-age=60', 'no-store', 'max-age=0']) {
    const { get } = await startCache((version) => ({ 'Cache-Control': version === 1 ? 'max-age=60' : value }));
    await get();
    await get(control('no-cache'));
    await expect.poll(async () => (await get(control('only-if-cached'))).status, { interval: 5 }).toBe(504);
  }
});

describe('without a coordinator', () => {
  it('the same holds inside one process', async () => {
    const clock = movingClock();
    let version = 0;
    const handler: RequestHandler = (request, response) => {
      response.set({ 'Cache-Control': 'max-age=60, stale-while-revalidate=60', ETag: '"1"' });
      if (request.get('if-none-match') === '"1"') response.status(304).end();
      else response.end(`v${++version}`);
    };
    const options: CollapseOptions = { cache: 'http', statusHeader: true };
    const shop = await startShop(1, handler, options, { alone: true, collapser: { clock } });
    expect(told(await shop.ask(0, {}))).toBe('200 v1 age - oneflight; fwd=uri-miss; stored');
    clock.advance(10_000);
    expect(told(await shop.ask(0, { method: 'HEAD' }))).toBe('200  age 10 oneflight; hit; ttl=49');
    clock.advance(60_000);
    expect(told(await shop.ask(0, {}))).toBe('200 v1 age 70 oneflight; hit; ttl=-11');
    await expect.poll(async () => (await shop.ask(0, {})).headers.age, { interval: 5 }).toBe('0');
    await shop.ask(0, { method: 'POST' });
    expect((await shop.ask(0, control('only-if-cached'))).status).toBe(504);
    expect(version).toBe(2);
  });
});

describe('cacheControl', () => {
  it('is what an answer without one is kept by', async () => {
    const { get } = await startCache({}, { cacheControl: 'public, max-age=60' });
    expect([(await get()).body, (await get()).body]).toEqual(['v1', 'v1']);
  });
});

describe('what is stored', () => {
  const change = (from: string, to: string) => (bytes: Uint8Array) => {
    const [prefix, rest] = [bytes.subarray(0, 5), Buffer.from(bytes.subarray(5)).toString('latin1')];
    const changed = Buffer.from(rest.replace(from, to), 'latin1');
    const head = Buffer.from(prefix);
    head.writeUInt32LE(head.readUInt32LE(1) + to.length - from.length, 1);
    return Buffer.concat([head, changed]);
  };
  it.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ['is noise', () => Buffer.from('noise')],
    ['is cut', (bytes) => bytes.subarray(0, 40)],
    ['is for another key', change('"key":"', '"key":"x')],
    ['has a lifetime that is none', change('"ttlMs":60000', '"ttlMs":-1')],
    ['has no word on being strict', change('"isStrict":false', '"isStrict":"no"')],
    ['has an age that is none', change('"ageMs":', '"ageMs":-1,"x":')],
    ['would set a cookie', change('["etag"', '["set-cookie"')],
    ['would split the response', change('text/plain', 'text\\r\\nX: y')],
    ['has a status that nobody stores', change('"status":200', '"status":206')],
  ])('and %s is refused, counted, and its request answered by its handler', async (_what, tamper) => {
    let version = 0;
    const handler: RequestHandler = (_request, response) => {
      response.set({ 'Cache-Control': 'max-age=60', ETag: '"1"' }).type('txt').end(`v${++version}`);
    };
    const shop = await startShop(2, handler, { cache: 'http' }, { tamper });
    await shop.ask(0, {});
    for (const [turn, ask] of [{}, { method: 'HEAD' }, { headers: { range: 'bytes=0-0' } }].entries()) {
      expect((await shop.ask(turn % 2, ask)).headers.age).toBeUndefined();
    }
    expect(shop.calls).toHaveLength(4);
    expect(shop.middlewares.reduce((sum, middleware) => sum + middleware.stats().refused, 0)).toBeGreaterThanOrEqual(3);
  });

  it('is nothing above the limits, and the answer goes to its own caller', async () => {
    const { get, middlewares } = await startCache({ 'Cache-Control': 'max-age=60' }, { limits: { bodyBytesMax: 1 } });
    expect([(await get()).body, (await get()).body]).toEqual(['v1', 'v2']);
    expect(middlewares.map((middleware) => middleware.stats().stored)).toEqual([0, 0]);
  });

  it('is out of reach with the coordinator, and the handler runs', async () => {
    const { get, collapsers, calls } = await startCache({ 'Cache-Control': 'max-age=60' });
    await get();
    for (const collapser of collapsers) await collapser.close();
    expect((await get(control('max-stale=5'))).body).toBe('v2');
    expect((await get({ method: 'HEAD' })).status).toBe(200);
    expect(calls).toHaveLength(3);
  });

  it('leaves nothing in the process after a flood of URLs', async () => {
    const { ask, middlewares, collapsers } = await startCache({ 'Cache-Control': 'max-age=60', Vary: 'Accept' });
    for (let url = 0; url < 300; url++) await ask(0, { path: `/${url}` });
    expect(middlewares[0]?.stats()).toMatchObject({ stored: 300, capturing: 0, capturedBytes: 0, getKeys: 0 });
    expect(collapsers[0]?.stats()).toMatchObject({ flights: 0, waiters: 0 });
  });
});

describe('a change', () => {
  const start = async (options: CollapseOptions = {}) => {
    const versions = new Map<string, number>();
    return startCache({}, { identity: 'key', ...options }, (request, response) => {
      const { path } = request;
      if (request.method === 'GET') {
        response.set({ 'Cache-Control': 'public, max-age=600', Vary: 'Accept-Language' });
        return void response.end(`${path} v${versions.get(path) ?? 1}`);
      }
      for (const [name, header] of Object.entries(request.query)) response.set(name, String(header));
      for (const one of [path, '/seats/7', '/block']) versions.set(one, (versions.get(one) ?? 1) + 1);
      response.status(Number(request.get('x-status') ?? 204)).end();
    });
  };

  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'LOCK'])(
    'by %s removes every stored answer of its URI before its caller is answered',
    async (method) => {
      const { get, middlewares } = await start();
      const asks: Ask[] = [
        {},
        { headers: { cookie: 'ann' } },
        { headers: { 'accept-language': 'fr' } },
        { headers: { authorization: 'b' } },
      ];
      const round = () => Promise.all(asks.map(async (ask) => (await get({ path: '/seats', ...ask })).body));
      expect(await round()).toEqual(Array(4).fill('/seats v1'));
      expect((await get({ method, path: '/seats', headers: { cookie: 'bob' } })).status).toBe(204);
      expect(await round()).toEqual(Array(4).fill('/seats v2'));
      expect(middlewares.reduce((sum, middleware) => sum + middleware.stats().changes, 0)).toBe(1);
    },
  );

  it('removes what its answer names in Location and Content-Location at the same origin', async () => {
    const { get } = await start();
    const paths = ['/seats/7', '/block'];
    const round = () => Promise.all(paths.map(async (path) => (await get({ path })).body));
    await round();
    await get({
      method: 'POST',
      path: '/seats?Location=/seats/7&Content-Location=http://shop.example/block',
      headers: { 'x-status': '201' },
    });
    expect(await round()).toEqual(['/seats/7 v2', '/block v2']);
  });

  it('removes nothing of another origin, and nothing where it failed', async () => {
    const { get } = await start();
    await get({ path: '/seats/7' });
    await get({ method: 'POST', path: '/seats?Location=http://other.example/seats/7', headers: { 'x-status': '201' } });
    await get({ method: 'POST', path: '/seats/7', headers: { 'x-status': '409' } });
    await get({ method: 'POST', path: '/seats/7', headers: { 'x-status': '500' } });
    expect((await get({ path: '/seats/7' })).body).toBe('/seats/7 v1');
  });

  it('keeps the answer of a handler that began before it from being stored', async () => {
    let letEnd = (): void => {};
    const shop = await startCache({}, {}, async (request, response) => {
      if (request.method === 'GET' && shop.calls.length === 1) await new Promise<void>((resolve) => (letEnd = resolve));
      response.set('Cache-Control', 'max-age=600').end(`v${shop.calls.length}`);
    });
    const old = shop.get();
    await shop.allRun(1);
    await shop.get({ method: 'POST' });
    letEnd();
    await old;
    expect((await shop.get()).body).toBe('v3');
  });

  it.each<[string, RequestHandler]>([
    ['ends twice', (_request, response) => void [response.status(201).send('made'), response.end()]],
    ['ends in parts', (_request, response) => void [response.status(201).type('html').write('ma'), response.end('de')]],
    [
      'ends with bytes',
      (_request, response) => void response.writeHead(201, { 'Content-Type': 'text/html; charset=utf-8' }).end(Buffer.from('made')),
    ],
    [
      'fails after its end',
      (_request, response) => {
        response.status(201).send('made');
        throw new Error('too late');
      },
    ],
  ])('by a handler that %s has the answer that it has without the cache', async (_what, handler) => {
    const answers = [];
    for (const cache of ['off', 'http'] as const) {
      const { get } = await startCache({}, { cache }, handler);
      const { status, body, headers } = await get({ method: 'POST' });
      answers.push([status, body, headers['content-length'], headers['transfer-encoding'], headers['content-type'], headers.etag]);
    }
    expect(answers[0]?.slice(0, 2)).toEqual([201, 'made']);
    expect(answers[1]).toEqual(answers[0]);
  });

  it('by a handler whose answer is compressed outside arrives whole', async () => {
    const clock = movingClock();
    const text = 'seats '.repeat(1_000);
    const shop = await startShop(
      1,
      (_request, response) => void response.send(text),
      { cache: 'http' },
      { clock, before: [compression()] },
    );
    const answer = await shop.ask(0, { method: 'POST', headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(answer.raw).toString()).toBe(text);
  });

  it('is answered all the same where the store cannot be told, and counted', async () => {
    const { get, collapsers, middlewares } = await start();
    for (const collapser of collapsers) await collapser.close();
    expect((await get({ method: 'POST' })).status).toBe(204);
    expect(middlewares[0]?.stats().changesLost).toBe(1);
  });
});
