import { AsyncLocalStorage } from 'node:async_hooks';

import { createCollapser } from '@oneflight/core';
import compression from 'compression';
import express, { type RequestHandler } from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';

import { collapse, type CollapseOptions } from '../../src/index.js';
import { ask, serveApp, startShop } from '../support/shop.js';

/** Lets a number of requests wait for each other; a request that comes alone would wait for ever. */
function meeting(size: number) {
  let open = (): void => {};
  const met = new Promise<void>((resolve) => (open = resolve));
  let present = 0;
  return async (): Promise<void> => {
    present += 1;
    if (present === size) open();
    await met;
  };
}

describe('answers that cannot be shared', () => {
  it('are loaded by all at once: ten handlers run at the same time, not one behind the other', async () => {
    const meet = meeting(10);
    const shop = await startShop(2, async (_request, response) => {
      response.set('Cache-Control', 'private').flushHeaders();
      await meet(); // passes only when all ten are here
      response.end('own');
    });
    const asked = Array.from({ length: 10 }, (_, index) => shop.ask(index % 2, {}));
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(Array.from({ length: 10 }, () => 'own'));
  });

  it('make later requests not wait at all, until one can be shared again', async () => {
    let isPrivate = true;
    const shop = await startShop(1, async (_request, response) => {
      if (shop.calls.length > 4) await shop.gate;
      if (isPrivate) response.set('Cache-Control', 'private');
      response.send('seats');
    });
    await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats()).toMatchObject({ collapsed: 1, hitForMissKeys: 1 });
    await Promise.all([shop.ask(0, {}), shop.ask(0, {})]);
    expect(shop.middlewares[0]?.stats()).toMatchObject({ collapsed: 1, bypassed: { hit_for_miss: 2 } });
    isPrivate = false;
    await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats()).toMatchObject({ collapsed: 1, bypassed: { hit_for_miss: 3 }, hitForMissKeys: 0 });
    const asked = [shop.ask(0, {}), shop.ask(0, {})];
    await shop.allWait(2);
    shop.open();
    await Promise.all(asked);
    expect(shop.calls).toHaveLength(5);
  });

  it('are not remembered for longer because of a 304, which tells nothing about what is behind it', async () => {
    const shop = await startShop(1, (_request, response) => {
      if (shop.calls.length === 1) response.cookie('first', 'visit');
      response.set('ETag', '"1"').send('seats');
    });
    await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats()).toMatchObject({ unshareable: { set_cookie: 1 }, hitForMissKeys: 1 });
    expect((await shop.ask(0, { headers: { 'if-none-match': '"1"' } })).status).toBe(304);
    expect(shop.middlewares[0]?.stats().unshareable).toEqual({ set_cookie: 1 });
    await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats().hitForMissKeys).toBe(0);
  });

  it('stay remembered while they are too large, although their head allows sharing', async () => {
    const shop = await startShop(1, (_request, response) => void [response.write('too much'), response.end()], {
      limits: { bodyBytesMax: 5 },
    });
    for (let n = 0; n < 3; n += 1) await shop.ask(0, {});
    expect(shop.middlewares[0]?.stats()).toMatchObject({
      bypassed: { hit_for_miss: 2 },
      hitForMissKeys: 1,
      capturedBytes: 0,
      capturing: 0,
    });
  });

  it.each<[string, CollapseOptions, RequestHandler]>([
    ['headers', { limits: { headersBytesMax: 100 } }, (_request, response) => void response.set('X-Large', 'x'.repeat(100)).send('a')],
    ['bodies', { limits: { bodyBytesMax: 100 } }, (_request, response) => void response.send('x'.repeat(101))],
    ['all bodies together', { limits: { capturedBytesMax: 100 } }, (_request, response) => void response.send('x'.repeat(101))],
  ])('include those over the limit for %s: counted, and each caller gets its own', async (_what, options, handler) => {
    const shop = await startShop(
      2,
      async (request, response, next) => {
        await shop.gate;
        return handler(request, response, next);
      },
      options,
    );
    const asked = [0, 0, 1].map((replica) => shop.ask(replica, {}));
    await shop.allWait(3);
    shop.open();
    for (const { status } of await Promise.all(asked)) expect(status).toBe(200);
    expect(shop.calls).toHaveLength(3);
    expect(Object.values(shop.middlewares[0]?.stats().unshareable ?? {})).not.toEqual([]);
    expect(shop.middlewares[0]?.stats()).toMatchObject({ capturing: 0, capturedBytes: 0 });
  });

  it('include those that the option share refuses, or that make it throw', async () => {
    let asked = 0;
    const share: CollapseOptions['share'] = (_request, { headers }) => {
      asked += 1;
      return decide(headers);
    };
    const decide = (headers: ReadonlyMap<string, unknown>): boolean =>
      headers.has('x-broken') ? JSON.parse('{') : headers.get('x-share') === 'yes';
    const shop = await startShop(1, (request, response) => void response.set(String(request.query['header']), 'no').end('seats'), {
      share,
    });
    await shop.ask(0, { path: '/?header=x-share' });
    await shop.ask(0, { path: '/?header=x-broken' });
    expect(shop.middlewares[0]?.stats()).toMatchObject({ unshareable: { share: 2 } });
    await shop.ask(0, { path: '/plain?header=x-plain' });
    expect(asked).toBe(3);
  });
});

describe('a request that waits', () => {
  it("runs its handler in its own async context when another one's answer cannot be shared", async () => {
    const users = new AsyncLocalStorage<string>();
    const shop = await startShop(
      2,
      async (_request, response) => {
        await shop.gate;
        response.set('Cache-Control', 'private').send(users.getStore());
      },
      {},
      { before: [(request, _response, next) => users.run(request.get('x-caller') ?? 'nobody', next)] },
    );
    const asked = ['anna', 'ben', 'cleo', 'dan'].map((name, index) => shop.ask(index % 2, { headers: { 'x-caller': name } }));
    await shop.allWait(4);
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['anna', 'ben', 'cleo', 'dan']);
  });

  it('runs its handler in its own async context when it takes over', async () => {
    const users = new AsyncLocalStorage<string>();
    const shop = await startShop(
      1,
      async (_request, response) => {
        const name = users.getStore();
        await shop.gate;
        if (name === 'anna') response.status(500);
        response.send(name);
      },
      {},
      { before: [(request, _response, next) => users.run(request.get('x-caller') ?? 'nobody', next)] },
    );
    const asked = [];
    for (const [index, name] of ['anna', 'ben'].entries()) {
      asked.push(shop.ask(0, { headers: { 'x-caller': name } }));
      await shop.allWait(index + 1);
    }
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['anna', 'ben']);
  });

  it('with HEAD is answered by a GET that is under way, and never the other way round', async () => {
    const shop = await startShop(1, async (_request, response) => {
      await shop.gate;
      response.set('X-A', 'a').send('seats');
    });
    const get = shop.ask(0, {});
    await shop.allWait(1);
    const head = shop.ask(0, { method: 'HEAD' });
    await shop.allWait(2);
    shop.open();
    expect(await head).toMatchObject({ status: 200, body: '', headers: { 'x-a': 'a', 'content-length': '5' } });
    expect((await get).body).toBe('seats');
    expect(shop.calls).toEqual(['GET /']);
    expect(shop.middlewares[0]?.stats().getKeys).toBe(0);
  });

  it('with GET does not wait for a HEAD, and a HEAD never leads those who asked with GET', async () => {
    const shop = await startShop(1, async (request, response) => {
      await shop.gate;
      if (request.method === 'GET' && shop.calls.filter((call) => call.startsWith('GET')).length === 1) response.status(500);
      response.send('seats');
    });
    const asked = [];
    for (const [index, method] of ['HEAD', 'GET', 'HEAD', 'GET'].entries()) {
      asked.push(shop.ask(0, { method }));
      await shop.allWait(index + 1);
    }
    shop.open();
    expect((await Promise.all(asked)).map(({ status, body }) => [status, body])).toEqual([
      [200, ''],
      [500, 'seats'],
      [200, ''],
      [200, 'seats'],
    ]);
    expect(shop.calls.sort()).toEqual(['GET /', 'GET /', 'HEAD /', 'HEAD /']);
  });

  it('is served by the host and scheme of its own proxy only where the application trusts it', async () => {
    const handler: RequestHandler = async (request, response) => {
      await gate;
      response.send(`${request.protocol}://${request.host}`);
    };
    let gate: Promise<void> | undefined;
    for (const [trustProxy, expected] of [
      [true, ['http://a.example', 'http://b.example']],
      [false, ['http://shop.example', 'http://shop.example']],
    ] as const) {
      const shop = await startShop(1, handler, {}, { trustProxy });
      gate = shop.gate;
      const asked = ['a', 'b'].map((name) => shop.ask(0, { headers: { 'x-forwarded-host': `${name}.example` } }));
      await shop.allWait(2);
      shop.open();
      expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(expected);
      expect(shop.calls).toHaveLength(trustProxy ? 2 : 1);
    }
  });

  it('is allowed no origin but its own, also where the handler allows origins and says nothing of it', async () => {
    const withoutOutside: RequestHandler = (_request, response, next) =>
      void [response.removeHeader('Access-Control-Allow-Origin'), next()];
    const shop = await startShop(
      2,
      async (request, response) => {
        await shop.gate;
        response.set('Access-Control-Allow-Origin', request.get('origin')).send('seats');
      },
      {},
      { before: [withoutOutside] },
    );
    const origins = ['https://a.example', 'https://a.example', 'https://b.example', 'https://a.example'];
    const asked = [];
    for (const [index, origin] of origins.entries()) {
      asked.push(shop.ask(index % 2, { headers: { origin } }));
      await shop.allWait(index + 1);
    }
    shop.open();
    expect((await Promise.all(asked)).map(({ headers }) => headers['access-control-allow-origin'])).toEqual(origins);
    expect(shop.calls).toHaveLength(2);
  });

  it('gets an encoded answer only if it accepts the same encodings, with compression mounted inside', async () => {
    const warned: string[] = [];
    const onWarning = (warning: Error & { code?: string }) => void warned.push(warning.code ?? '');
    process.on('warning', onWarning);
    onTestFinished(() => void process.off('warning', onWarning));
    const shop = await startShop(
      2,
      async (_request, response) => {
        await shop.gate;
        response.send('seats '.repeat(1000));
      },
      {},
      { inside: [compression()] },
    );
    const asked = ['gzip', 'gzip', 'identity', 'gzip'].map((encoding, index) =>
      shop.ask(index % 2, { headers: { 'accept-encoding': encoding } }),
    );
    await shop.allWait(4);
    shop.open();
    const answers = await Promise.all(asked);
    expect(answers.map(({ headers }) => headers['content-encoding'])).toEqual(['gzip', 'gzip', undefined, 'gzip']);
    expect(answers[2]?.body).toBe('seats '.repeat(1000));
    expect(answers[3]?.raw.equals(answers[0]?.raw ?? Buffer.alloc(0))).toBe(true);
    expect(shop.calls).toHaveLength(2);
    expect(warned).toContain('ONEFLIGHT_HTTP_COMPRESSION_INSIDE');
  });

  it('gets an answer encoded for itself with compression mounted outside', async () => {
    const shop = await startShop(
      2,
      async (_request, response) => {
        await shop.gate;
        response.send('seats '.repeat(1000));
      },
      {},
      { before: [compression()] },
    );
    const asked = ['gzip', 'identity', 'br', 'gzip'].map((encoding, index) =>
      shop.ask(index % 2, { headers: { 'accept-encoding': encoding } }),
    );
    await shop.allWait(4);
    shop.open();
    const answers = await Promise.all(asked);
    expect(answers.map(({ headers }) => headers['content-encoding'])).toEqual(['gzip', undefined, 'br', 'gzip']);
    expect(shop.calls).toHaveLength(1);
  });
});

describe('identity', () => {
  const who: RequestHandler = (request, response) => void response.send(request.get('authorization') ?? request.get('cookie') ?? 'nobody');

  it.each<[string, CollapseOptions, string, string | undefined, number]>([
    ["'ignore' shares what depends on no cookie", { identity: 'ignore' }, 'cookie', undefined, 1],
    ["'ignore' does not share an answer to Authorization", { identity: 'ignore' }, 'authorization', undefined, 3],
    ["'ignore' shares an answer to Authorization that says public", { identity: 'ignore' }, 'authorization', 'public', 1],
    ["'ignore' shares an answer to Authorization with a time for shared caches", { identity: 'ignore' }, 'authorization', 's-maxage=5', 1],
    ["'bypass' collapses no request with credentials", { identity: 'bypass' }, 'cookie', undefined, 3],
    ["'key' keeps users apart", { identity: 'key' }, 'cookie', undefined, 3],
    ['a function says whose request it is', { identity: (request) => request.get('cookie')?.slice(0, 4) ?? null }, 'cookie', undefined, 1],
  ])('%s', async (_what, options, header, control, calls) => {
    const shop = await startShop(
      1,
      async (request, response, next) => {
        await shop.gate;
        if (control !== undefined) response.set('Cache-Control', control);
        return who(request, response, next);
      },
      options,
    );
    const asked = ['user1', 'user2', 'user3'].map((value) => shop.ask(0, { headers: { [header]: value } }));
    if (options.identity === 'bypass') await shop.allRun(3);
    else await shop.allWait(3);
    shop.open();
    await Promise.all(asked);
    expect(shop.calls).toHaveLength(calls);
  });

  it('is part of the key also where the application has a key of its own, and so are route and host', async () => {
    const collapser = createCollapser();
    const app = express();
    const calls: string[] = [];
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const handler: RequestHandler = (request, response) => {
      calls.push(`${request.host}${request.originalUrl}`);
      void gate.then(() => response.send(`${request.host}${request.path} ${request.get('cookie') ?? ''}`));
    };
    const one = collapse(collapser, { key: (request) => String(request.params['id'] ?? '') });
    app.get('/matches/:id', one, handler);
    app.get('/blocks/:id', one, handler);
    const port = await serveApp(app);
    const asked = [
      ask(port, { path: '/matches/1?a=1' }),
      ask(port, { path: '/matches/1?b=2' }),
      ask(port, { path: '/blocks/1' }),
      ask(port, { path: '/matches/1', headers: { cookie: 'anna' } }),
      ask(port, { path: '/matches/1', headers: { host: 'other.example' } }),
    ];
    await expect.poll(() => collapser.stats().waiters).toBe(5);
    open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual([
      'shop.example/matches/1 ',
      'shop.example/matches/1 ',
      'shop.example/blocks/1 ',
      'shop.example/matches/1 anna',
      'other.example/matches/1 ',
    ]);
    expect(calls).toHaveLength(4);
  });

  it('of a QUERY has its body in the key', async () => {
    const options: CollapseOptions = { methods: ['GET', 'QUERY'], key: (request) => [request.url, JSON.stringify(request.body ?? null)] };
    const shop = await startShop(
      1,
      async (request, response) => {
        await shop.gate;
        response.send(request.body);
      },
      options,
      { before: [express.json()] },
    );
    const asked = [1, 1, 2].map((block) => shop.ask(0, { method: 'QUERY', json: { block } }));
    await shop.allWait(3);
    shop.open();
    expect((await Promise.all(asked)).map(({ body }) => body)).toEqual(['{"block":1}', '{"block":1}', '{"block":2}']);
    expect(shop.calls).toHaveLength(2);
  });

  it.each<[string, CollapseOptions]>([
    ['a key that is none', { key: () => [undefined] as never }],
    ['an identity that is none', { identity: () => ({}) as never }],
    ['a key that throws', { key: () => JSON.parse('{') as never }],
  ])('of %s is an error of the application', async (_what, options) => {
    const shop = await startShop(1, (_request, response) => void response.send('seats'), options);
    expect((await shop.ask(0, {})).status).toBe(500);
    expect(shop.calls).toEqual([]);
  });
});

describe('two of them on one route', () => {
  it('collapse once, and say so', async () => {
    const collapser = createCollapser();
    const app = express();
    const [outer, inner] = [collapse(collapser), collapse(collapser)];
    app.get('/', outer, inner, (_request, response) => void response.send('seats'));
    expect((await ask(await serveApp(app), {})).body).toBe('seats');
    expect([outer.stats().collapsed, inner.stats().bypassed.nested]).toEqual([1, 1]);
  });
});

describe('when the coordinator is out of reach', () => {
  it.each([
    ['load' as const, 200],
    ['reject' as const, 503],
  ])("with '%s' a request is answered with %i", async (whenDegraded, status) => {
    const unreachable = {
      connect: () => ({
        inbox: 'x',
        codec: { encode: () => Buffer.alloc(0), decode: () => null },
        timings: { leaseMs: 3000, recheckMs: 500, commandTimeoutMs: 100 },
        claim: async () => Promise.reject(Object.assign(new Error('gone'), { code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'unavailable' })),
        release: async () => {},
        close: async () => {},
      }),
    } as never;
    const shop = await startShop(
      1,
      (_request, response) => void response.send('seats'),
      { whenDegraded },
      { alone: true, collapser: { coordinator: unreachable } },
    );
    expect((await shop.ask(0, {})).status).toBe(status);
  });

  it('a closed collapser leaves requests to their handlers', async () => {
    const shop = await startShop(1, (_request, response) => void response.send('seats'));
    await shop.collapsers[0]?.close();
    expect((await shop.ask(0, {})).body).toBe('seats');
  });
});
