import { describe, expect, it } from 'vitest';

import type { CollapseOptions } from '../../src/index.js';
import { type Ask, startShop } from '../support/shop.js';
import type { RequestHandler } from 'express';

/** The leader, one beside it, and one on another replica. */
async function askThree(handler: RequestHandler, what: readonly Ask[], options?: CollapseOptions) {
  const shop = await startShop(
    2,
    async (request, response, next) => {
      await shop.gate;
      return handler(request, response, next);
    },
    options,
  );
  const asked = [];
  for (const [index, one] of what.entries()) {
    asked.push(shop.ask(index < 2 ? 0 : 1, one));
    await shop.allWait(index + 1);
  }
  shop.open();
  return { answers: await Promise.all(asked), calls: shop.calls };
}

const conditional = (etag: string): Ask => ({ headers: { 'if-none-match': etag } });

describe('validators', () => {
  it.each<[string, CollapseOptions, RegExp | undefined]>([
    ['are weak', {}, /^W\/"5-[\w-]{27}"$/],
    ['are strong if asked for', { etag: 'strong' }, /^"5-[\w-]{27}"$/],
    ['are not made if not wanted', { etag: false }, undefined],
  ])('that the handler did not make %s, and are the same for all', async (_what, options, expected) => {
    const { answers } = await askThree((_request, response) => void response.end('seats'), [{}, {}, {}], options);
    const etags = answers.map(({ headers }) => headers.etag);
    expect(new Set(etags).size).toBe(1);
    if (expected === undefined) expect(etags[0]).toBeUndefined();
    else expect(etags[0]).toMatch(expected);
  });

  it('that the handler made stay as they are', async () => {
    const { answers } = await askThree((_request, response) => void response.set('ETag', '"own"').end('seats'), [{}, {}, {}]);
    expect(answers.map(({ headers }) => headers.etag)).toEqual(['"own"', '"own"', '"own"']);
  });

  it('are not made for answers that nobody else may have', async () => {
    const handler: RequestHandler = (_request, response) => void response.set('Cache-Control', 'private').end('seats');
    const { answers } = await askThree(handler, [{}, {}, {}]);
    expect(answers.map(({ headers }) => headers.etag)).toEqual([undefined, undefined, undefined]);
  });

  it('are made for others where the body was written in parts, as the leader has its head already', async () => {
    const { answers } = await askThree((_request, response) => void [response.write('se'), response.end('ats')], [{}, {}, {}]);
    const [leader, ...others] = answers.map(({ headers }) => headers.etag);
    expect(leader).toBeUndefined();
    expect(others[0]).toMatch(/^W\/"5-/);
    expect(others[1]).toBe(others[0]);
  });
});

describe('a condition', () => {
  it('of each caller holds for it alone: 304 for those who have the answer, the leader too', async () => {
    const { answers, calls } = await askThree(
      (_request, response) => void response.set({ ETag: '"1"', 'Content-Language': 'de', Expires: '0' }).send('seats'),
      [conditional('W/"0", W/"1"'), conditional('"2"'), conditional('*'), {}],
    );
    expect(answers.map(({ status, body }) => [status, body])).toEqual([
      [304, ''],
      [200, 'seats'],
      [304, ''],
      [200, 'seats'],
    ]);
    for (const { headers } of answers) expect(headers).toMatchObject({ etag: '"1"', expires: '0' });
    for (const index of [0, 2]) {
      expect(answers[index]?.headers).not.toHaveProperty('content-type');
      expect(answers[index]?.headers).not.toHaveProperty('content-length');
      expect(answers[index]?.headers).not.toHaveProperty('content-language');
    }
    expect(calls).toHaveLength(1);
  });

  it('of the leader is met by a validator made for it', async () => {
    const first = await askThree((_request, response) => void response.end('seats'), [{}]);
    const etag = first.answers[0]?.headers.etag ?? 'none';
    const { answers } = await askThree((_request, response) => void response.end('seats'), [conditional(etag), {}, {}]);
    expect(answers.map(({ status }) => status)).toEqual([304, 200, 200]);
  });

  it('on a date is met by an answer that is not newer, unless there is one on a tag', async () => {
    const date = (value: string, more = {}): Ask => ({ headers: { 'if-modified-since': value, ...more } });
    const { answers } = await askThree(
      (_request, response) => void response.set({ 'Last-Modified': 'Tue, 02 Jan 2024 00:00:00 GMT', ETag: '"1"' }).send('seats'),
      [
        date('Tue, 02 Jan 2024 00:00:00 GMT'),
        date('Mon, 01 Jan 2024 00:00:00 GMT'),
        date('Wed, 03 Jan 2024 00:00:00 GMT'),
        date('Wed, 03 Jan 2024 00:00:00 GMT', { 'if-none-match': '"2"' }),
        date('nonsense'),
      ],
    );
    expect(answers.map(({ status }) => status)).toEqual([304, 200, 304, 200, 200]);
  });

  it('of one who reloads is not met', async () => {
    const reload: Ask = { headers: { 'if-none-match': '"1"', 'cache-control': 'no-cache' } };
    const { answers } = await askThree((_request, response) => void response.set('ETag', '"1"').send('seats'), [reload, reload, reload]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  it('is met also where the answer cannot be shared, as it would be without collapsing', async () => {
    const handler: RequestHandler = (_request, response) => void response.set({ ETag: '"1"', 'Cache-Control': 'private' }).send('seats');
    const { answers } = await askThree(handler, [conditional('"1"'), conditional('"2"'), conditional('"1"')]);
    expect(answers.map(({ status }) => status)).toEqual([304, 200, 304]);
  });

  it('never makes a 304 of anything but 200', async () => {
    const handler: RequestHandler = (_request, response) => void response.status(404).set('ETag', '"1"').send('none');
    const { answers } = await askThree(handler, [conditional('"1"'), conditional('"1"'), conditional('"1"')]);
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404]);
  });
});

describe('Cache-Status', () => {
  it('says how each was answered, after what others said, and nothing about the key', async () => {
    const handler: RequestHandler = (_request, response) => void response.set('Vary', 'Accept').send('seats');
    const what: Ask[] = [{}, {}, {}, { headers: { accept: 'text/html' } }];
    const { answers } = await askThree(handler, what, { statusHeader: true });
    expect(answers.map(({ headers }) => headers['cache-status'])).toEqual([
      'oneflight; fwd=miss',
      'oneflight; fwd=miss; collapsed',
      'oneflight; fwd=miss; collapsed',
      'oneflight; fwd=vary-miss',
    ]);
  });

  it('tells those who were let go that they were', async () => {
    const handler: RequestHandler = (_request, response) => void response.set('Cache-Control', 'private').send('seats');
    const { answers } = await askThree(handler, [{}, {}, {}], { statusHeader: true });
    const letGo = 'oneflight; fwd=miss; collapsed=?0; detail=unshareable';
    expect(answers.map(({ headers }) => headers['cache-status'])).toEqual(['oneflight; fwd=miss', letGo, letGo]);
  });

  it.each<[string, Ask, string]>([
    ['a method', { method: 'POST' }, '"my shop"; fwd=method; detail=method'],
    ['a range', { headers: { range: 'bytes=0-1' } }, '"my shop"; fwd=request; detail=range'],
    ['an option', { path: '/skipped' }, '"my shop"; fwd=bypass; detail=skip'],
  ])('says why %s kept a request from being collapsed', async (_what, what, expected) => {
    const options: CollapseOptions = { statusHeader: 'my shop', skip: (request) => request.path === '/skipped' };
    const shop = await startShop(1, (_request, response) => void response.send('seats'), options);
    expect((await shop.ask(0, what)).headers['cache-status']).toBe(expected);
  });

  it('is not sent unless asked for', async () => {
    const { answers } = await askThree((_request, response) => void response.send('seats'), [{}, {}, {}]);
    for (const { headers } of answers) expect(headers).not.toHaveProperty('cache-status');
  });
});

describe('cacheControl', () => {
  const options: CollapseOptions = { cacheControl: 'public, max-age=1' };

  it('is sent where the handler set none', async () => {
    const { answers } = await askThree((_request, response) => void response.send('seats'), [{}, {}, {}], options);
    expect(answers.map(({ headers }) => headers['cache-control'])).toEqual(Array.from({ length: 3 }, () => 'public, max-age=1'));
  });

  it.each<[string, RequestHandler, Ask, string | undefined]>([
    ['where the handler set one', (_request, response) => void response.set('Cache-Control', 'no-cache').send('seats'), {}, 'no-cache'],
    ['with an answer for one user', (_request, response) => void response.send('seats'), { headers: { cookie: 'user=1' } }, undefined],
    ['with an answer that sets a cookie', (_request, response) => void response.cookie('a', '1').send('seats'), {}, undefined],
    ['with an error', (_request, response) => void response.sendStatus(500), {}, undefined],
  ])('is not sent %s', async (_what, handler, what, expected) => {
    const { answers } = await askThree(handler, [what], options);
    expect(answers[0]?.headers['cache-control']).toBe(expected);
  });
});
