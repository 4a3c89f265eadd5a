import type { RequestHandler } from 'express';
import { createCollapser } from '@oneflight/core';
import { describe, expect, it } from 'vitest';

import { collapse, type CollapseOptions } from '../../src/index.js';
import { startShop } from '../support/shop.js';

describe('collapse', () => {
  it('runs the handler once for equal requests on all replicas, and answers all of them alike', async () => {
    const shop = await startShop(2, async (request, response) => {
      await shop.gate;
      response.set('X-Made-By', 'the handler').json({ seats: request.query['block'] });
    });
    const asked = [0, 1, 0, 1].map((replica) => shop.ask(replica, { path: '/seats?block=7' }));
    await shop.allWait(4);
    shop.open();
    for (const answer of await Promise.all(asked)) {
      expect(answer).toMatchObject({ status: 200, body: '{"seats":"7"}' });
      expect(answer.headers).toMatchObject({ 'x-made-by': 'the handler', 'content-type': 'application/json; charset=utf-8' });
      expect(answer.headers['content-length']).toBe('13');
    }
    expect(shop.calls).toEqual(['GET /seats?block=7']);
  });

  it.each([
    ['another URL', { path: '/other' }, '/other for nobody'],
    ['another method', { method: 'HEAD' }, ''],
    ['a cookie of its own', { headers: { cookie: 'session=two' } }, '/ for session=two'],
    ['an Authorization of its own', { headers: { authorization: 'Bearer two' } }, '/ for Bearer two'],
  ])('never answers a request with %s by the answer to one without', async (_what, difference, expected) => {
    const shop = await startShop(2, async (request, response) => {
      await shop.gate;
      response.send(`${request.path} for ${request.headers.cookie ?? request.headers.authorization ?? 'nobody'}`);
    });
    const asked = [shop.ask(0, {}), shop.ask(0, difference), shop.ask(1, difference)];
    await shop.allWait(3);
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['/ for nobody', expected, expected]);
    expect(shop.calls).toHaveLength(2);
  });

  it.each([[true], [false]])('counts a request that led as one that led, not as one that left (one process: %s)', async (alone) => {
    const shop = await startShop(1, (_request, response) => void response.send('seats'), {}, { alone });
    for (let n = 0; n < 20; n += 1) await shop.ask(0, {});
    await expect.poll(() => shop.collapsers[0]?.stats().totals).toMatchObject({ calls: 20, leader: 20, aborts: 0 });
  });

  it.each<[string, RequestHandler]>([
    ['sets a cookie', (_request, response) => void response.cookie('session', 'secret').write('head')],
    ['is private', (_request, response) => void response.set('Cache-Control', 'private').write('head')],
    ['must not be stored', (_request, response) => void response.set('Cache-Control', 'no-store').write('head')],
    ['is refused', (_request, response) => void response.status(403).write('head')],
    ['is a stream of events', (_request, response) => response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders()],
    ['says so in a list of headers', (_request, response) => response.writeHead(200, ['Cache-Control', 'private']).flushHeaders()],
    ['is too large', (_request, response) => void response.write(Buffer.alloc(101))],
  ])('lets all others run for themselves, at once and in parallel, when the answer %s', async (_what, beginAnswer) => {
    const shop = await startShop(
      2,
      async (request, response, next) => {
        if (shop.calls.length === 1) await shop.gate;
        beginAnswer(request, response, next);
        await shop.allRun(4); // the first answer is still under way
        response.end(`answer to ${request.get('x-caller')}`);
      },
      { limits: { bodyBytesMax: 100 } },
    );
    const asked = [0, 1, 0, 1].map((replica, index) => shop.ask(replica, { headers: { 'x-caller': `caller ${index}` } }));
    await shop.allWait(4);
    shop.open();
    const bodies = (await Promise.all(asked)).map(({ body }) => body);
    for (const [index, body] of bodies.entries()) expect(body).toContain(`answer to caller ${index}`);
    const bypassed = shop.collapsers.map((collapser) => collapser.stats().totals.bypass);
    expect(bypassed.reduce((sum, count) => sum + count)).toBe(3); // metrics must not call this work saved
  });

  it("gives no caller another one's headers that were set before it", async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.json('same');
    });
    const asked = [0, 1, 0].map((replica, index) =>
      shop.ask(replica, { headers: { 'x-caller': `caller ${index}`, origin: `https://${index}.example` } }),
    );
    await shop.allWait(3);
    shop.open();
    for (const [index, { headers }] of (await Promise.all(asked)).entries()) {
      expect(headers).toMatchObject({ 'x-request-id': `caller ${index}`, 'access-control-allow-origin': `https://${index}.example` });
    }
    expect(shop.calls).toHaveLength(1);
  });

  it("answers each caller's own condition, never the leader's", async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.set('ETag', '"1"').send('body');
    });
    const leader = shop.ask(0, { headers: { 'if-none-match': '"1"' } });
    await shop.allWait(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {}), shop.ask(1, { headers: { 'if-none-match': '"1"' } })];
    await shop.allWait(4);
    shop.open();
    const [local, remote, conditional] = await Promise.all(asked);
    expect([local, remote].map((answer) => [answer?.status, answer?.body])).toEqual([
      [200, 'body'],
      [200, 'body'],
    ]);
    expect([conditional?.status, conditional?.body]).toEqual([304, '']);
    expect([(await leader).status, (await leader).body]).toEqual([304, '']);
    expect(shop.calls).toHaveLength(1);
  });

  it('answers everybody else when the caller whose request runs goes away', async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.send('body');
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
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['body', 'body']);
    expect(shop.calls).toHaveLength(1);
  });

  it('lets one other take over when the handler destroys its response', async () => {
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      if (shop.calls.length === 1) response.destroy();
      else response.send('body');
    });
    const leader = shop.ask(0, {}).catch((error: unknown) => error);
    await shop.allWait(1);
    const asked = [shop.ask(0, {}), shop.ask(1, {})];
    await shop.allWait(3);
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['body', 'body']);
    expect(await leader).toBeInstanceOf(Error);
    expect(shop.calls).toHaveLength(2);
  }, 10_000); // far below the 30 seconds after which a load that never ends is given up

  it('runs the handler again for a caller whose headers the answer varies on', async () => {
    const shop = await startShop(2, async (request, response) => {
      await shop.gate;
      response.vary('Accept-Language').send(request.get('accept-language'));
    });
    const asked = ['de', 'de', 'fr'].map((language, index) => shop.ask(index % 2, { headers: { 'accept-language': language } }));
    await shop.allWait(3);
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['de', 'de', 'fr']);
    expect(shop.calls).toHaveLength(2);
  });

  it('passes an answer on unharmed that was not worth sharing: written in parts, in other encodings, as bytes', async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 128]);
    const shop = await startShop(2, async (_request, response) => {
      await shop.gate;
      response.write('c3a4', 'hex');
      response.write('ä');
      response.end(bytes);
    });
    const asked = [shop.ask(0, {}), shop.ask(0, {}), shop.ask(1, {})];
    await shop.allWait(3);
    shop.open();
    for (const { raw } of await Promise.all(asked)) expect(raw).toEqual(Buffer.concat([Buffer.from('ää'), bytes]));
    expect(shop.calls).toHaveLength(1);
  });

  it('leaves requests alone that change something, or that are to be skipped', async () => {
    const shop = await startShop(1, (_request, response) => void response.send('done'), { skip: (request) => request.path === '/skipped' });
    await Promise.all([shop.ask(0, { method: 'POST' }), shop.ask(0, { path: '/skipped' })]);
    expect(shop.collapsers[0]?.stats().totals.calls).toBe(0);
    expect(shop.calls).toHaveLength(2);
  });

  it.each([
    [{ limit: {} }, /did you mean 'limits'/],
    [{ limits: { bodyBytesMax: -1 } }, /bodyBytesMax/],
    [{ skip: 'all' }, /skip/],
  ])('refuses the options %j when it is made', (options, message) => {
    const collapser = createCollapser();
    expect(() => collapse(collapser, options as CollapseOptions)).toThrow(message);
  });
});
