import { createRequire } from 'node:module';

import { createCollapser } from '@oneflight/core';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';

import { collapse } from '../../src/index.js';
import { ask, serveApp, startShop } from '../support/shop.js';

/** It has no types of its own, and needs none here. */
const require = createRequire(import.meta.url);

/** The codes of the warnings that are given until the test has ended. */
function listen(): string[] {
  const codes: string[] = [];
  const onWarning = (warning: Error & { code?: string }): void => void codes.push(warning.code ?? '');
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  return codes;
}

describe('a mistake that shows only while requests come is said once', () => {
  it('when collapse() is called inside a handler', async () => {
    const codes = listen();
    const collapser = createCollapser();
    const app = express();
    app.get(
      '/',
      (request, response, next) => void collapse(collapser)(request, response, next),
      (_request, response) => void response.send('seats'),
    );
    expect((await ask(await serveApp(app), {})).body).toBe('seats');
    expect(codes).toEqual(['ONEFLIGHT_HTTP_CREATED_IN_HANDLER']);
  });

  it.each<[string, string, Parameters<typeof startShop>[2], Parameters<typeof startShop>[3], Record<string, string>]>([
    [
      "when identity is 'ignore' and Authorization came",
      'ONEFLIGHT_HTTP_CREDENTIALS_IGNORED',
      { identity: 'ignore' },
      {},
      { authorization: 'a' },
    ],
    [
      'when a rate limit runs inside',
      'ONEFLIGHT_HTTP_RATE_LIMIT_INSIDE',
      {},
      { inside: [(_request, response, next) => void [response.set('RateLimit-Limit', '5'), next()]] },
      {},
    ],
    ['when share throws', 'ONEFLIGHT_HTTP_SHARE_FAILED', { share: () => JSON.parse('{') as never }, {}, {}],
  ])('%s', async (_when, code, options, shopOptions, headers) => {
    const codes = listen();
    const shop = await startShop(1, (_request, response) => void response.send('seats'), options, shopOptions);
    for (let n = 0; n < 3; n += 1) expect((await shop.ask(0, { path: `/${n}`, headers })).body).toBe('seats');
    expect(codes).toEqual([code]);
  });

  it('when the application runs on Express 4: then nothing is collapsed', async () => {
    const codes = listen();
    const middleware = collapse(createCollapser());
    const app = require('express4')() as express.Express;
    app.get('/', middleware, (_request, response) => void response.send('seats'));
    const port = await serveApp(app);
    for (let n = 0; n < 2; n += 1) expect((await ask(port, {})).body).toBe('seats');
    expect(middleware.stats()).toMatchObject({ collapsed: 0, bypassed: { unsupported: 2 } });
    expect(codes).toEqual(['ONEFLIGHT_HTTP_EXPRESS_VERSION']);
  });

  it('and nothing is said of a route that is as it should be', async () => {
    const codes = listen();
    const shop = await startShop(1, (_request, response) => void response.send('seats'));
    await shop.ask(0, { headers: { authorization: 'a', cookie: 'b' } });
    expect(codes).toEqual([]);
  });
});
