import { once } from 'node:events';
import { Agent, createServer, type IncomingHttpHeaders, type IncomingMessage, request as send, type ServerResponse } from 'node:http';
import { gunzipSync } from 'node:zlib';

import { findNginx, startApp, startNginx, startRedis, type TestApp, type TestNginx, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const REPLICAS = 3;
const LIMIT = 60;
const nginxProgram = findNginx();
if (nginxProgram === undefined) console.log('no nginx on this machine: the tests behind it are skipped');

let redis: TestServer;
let replicas: TestApp[];
let nginx: TestNginx;
let catalog: Awaited<ReturnType<typeof startCatalog>>;

describe.skipIf(nginxProgram === undefined)('three processes behind nginx', () => {
  beforeAll(async () => {
    redis = await startRedis();
    catalog = await startCatalog();
    const env = {
      ...{ REDIS_URL: redis.url, CATALOG_URL: catalog.url, SESSION_SECRET: 'a secret of the test' },
      ...{ REQUESTS_PER_MINUTE: String(LIMIT), ALLOWED_ORIGINS: 'https://a.example,https://b.example' },
    };
    const main = new URL('../../dist/main.js', import.meta.url);
    replicas = await Promise.all(Array.from({ length: REPLICAS }, () => startApp(main, env)));
    const servers = replicas.map(({ url }) => new URL(url).host);
    catalog.open();
    // As a load balancer's health checks do: a process that has just started may be too busy for Redis.
    for (const { url } of replicas) expect((await fetch(`${url}/matches`)).status).toBe(200);
    nginx = await startNginx(nginxProgram ?? '', new URL('../../nginx.conf', import.meta.url), servers);
  });

  afterAll(async () => {
    await nginx?.stop();
    expect(await Promise.all(replicas.map((replica) => replica.stop()))).toEqual([0, 0, 0]); // and they end by themselves
    catalog.server.close().closeAllConnections();
    await redis.stop();
  });

  beforeEach(() => catalog.reset());

  it('run the handler once for fifty visitors, and encode the answer for each', async () => {
    const asked = Array.from({ length: 50 }, (_, index) =>
      ask('/matches', {
        ...{ 'accept-encoding': index % 2 === 0 ? 'gzip' : 'identity', 'x-forwarded-for': `203.0.113.${index}` },
        ...(index % 5 === 0 && { cookie: `theme=${index}` }),
      }),
    );
    await allWait(50);
    catalog.open();
    const answers = await Promise.all(asked);
    expect({ calls: catalog.calls, degraded: await degraded() }).toEqual({ calls: ['/matches'], degraded: 0 });
    for (const [index, { status, headers, raw, body }] of answers.entries()) {
      expect([status, body]).toEqual([200, '{"load":1,"matches":["Final"]}']);
      expect(headers['content-encoding']).toBe(index % 2 === 0 ? 'gzip' : undefined);
      if (index % 2 === 0) expect(raw.subarray(0, 2)).toEqual(Buffer.from([0x1f, 0x8b]));
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'content-type': 'application/json; charset=utf-8' });
      expect(headers['set-cookie']).toBeUndefined();
    }
    expect(new Set(answers.map(({ headers }) => headers['x-request-id'])).size).toBe(50);
    expect(new Set(answers.map(({ headers }) => headers.etag)).size).toBe(1);
    const led = answers.filter(({ headers }) => headers['cache-status'] === 'oneflight; fwd=miss');
    expect(led).toHaveLength(1);
    const remaining = answers.map(({ headers }) => /r=(\d+)/.exec(String(headers['ratelimit']))?.[1]);
    expect(new Set(remaining)).toEqual(new Set([String(LIMIT - 1)])); // each client's own
  });

  it('run it once for each origin that asks from elsewhere, and allow each no other', async () => {
    const origins = ['https://a.example', 'https://b.example', 'https://evil.example'];
    const asked = Array.from({ length: 12 }, (_, index) => ask('/matches', { origin: origins[index % 3] ?? '' }));
    await allWait(12);
    catalog.open();
    const allowed = (await Promise.all(asked)).map(({ headers }) => headers['access-control-allow-origin']);
    expect(allowed).toEqual(asked.map((_, index) => (index % 3 === 2 ? undefined : origins[index % 3])));
    expect(catalog.calls).toEqual(['/matches', '/matches', '/matches']);
  });

  it('never give the orders of one user to another, or to somebody without a session', async () => {
    const names = ['anna', 'ben', 'cleo'];
    const cookies = await Promise.all(names.map(logIn));
    expect(new Set(cookies).size).toBe(3);
    const asked = Array.from({ length: 30 }, (_, index) => {
      const which = index % 3;
      return ask('/me/orders', { cookie: cookies[which] ?? '', 'x-forwarded-for': `198.51.100.${which}` });
    });
    const strangers = await Promise.all([ask('/me/orders', {}), ask('/me/orders', { cookie: 'shop.session=s%3Aguessed.signature' })]);
    expect(strangers.map(({ status, body }) => [status, body])).toEqual(
      Array.from({ length: 2 }, () => [401, '{"error":"not_logged_in"}']),
    );
    await allWait(30);
    catalog.open();
    for (const [index, { status, body }] of (await Promise.all(asked)).entries()) {
      expect([status, JSON.parse(body)]).toEqual([200, { user: names[index % 3], orders: ['A1'] }]);
    }
    expect(catalog.calls.toSorted()).toEqual(names.map((name) => `/orders?user=${name}`)); // one load for each user, on all replicas
  });

  it('count each request against its own client, also one that gets the answer to another', async () => {
    const greedy = Array.from({ length: LIMIT + 10 }, () => ask('/matches', { 'x-forwarded-for': '192.0.2.1' }));
    const modest = ask('/matches', { 'x-forwarded-for': '192.0.2.2' });
    await allWait(LIMIT + 1);
    catalog.open();
    const statuses = (await Promise.all(greedy)).map(({ status }) => status);
    expect([statuses.filter((status) => status === 200).length, statuses.filter((status) => status === 429).length]).toEqual([LIMIT, 10]);
    expect((await modest).status).toBe(200);
    expect(catalog.calls).toEqual(['/matches']);
  });

  it('answer each client its own condition, and keep their counters from strangers', async () => {
    catalog.open();
    const { headers } = await ask('/matches', {});
    expect(headers.etag).toBeDefined();
    expect((await ask('/matches', { 'if-none-match': String(headers.etag) })).status).toBe(200); // another load, another answer
    catalog.freeze();
    const again = await ask('/matches', {});
    expect((await ask('/matches', { 'if-none-match': String(again.headers.etag) })).status).toBe(304);
    expect((await ask('/internal/stats', {})).status).toBe(404);
  });
});

/** The slow API behind the shop; it answers when the test lets it. Each answer to a question differs from the one before. */
async function startCatalog() {
  const calls: string[] = [];
  let loads = 0;
  let isFrozen = false;
  let open = (): void => {};
  let gate = new Promise<void>((resolve) => (open = resolve));
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://catalog');
    calls.push(`${url.pathname}${url.search}`);
    if (!isFrozen) loads += 1;
    await gate;
    const user = url.searchParams.get('user');
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(user === null ? { load: loads, matches: ['Final'] } : { user, orders: ['A1'] }));
  };
  const server = createServer((request, response) => void answer(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    server,
    calls,
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`,
    open: () => open(),
    freeze: () => (isFrozen = true),
    reset() {
      calls.length = 0;
      loads = 0;
      isFrozen = false;
      gate = new Promise((resolve) => (open = resolve));
    },
  };
}

/** How many flights the replicas had to do without Redis: then each of them loads for itself, as it should. */
async function degraded(): Promise<number> {
  const stats = await Promise.all(replicas.map(async ({ url }) => (await fetch(`${url}/internal/stats`)).json()));
  return (stats as { totals: { degraded: number } }[]).reduce((sum, { totals }) => sum + totals.degraded, 0);
}

/** Waits until so many requests wait for their answer on all replicas together. */
async function allWait(count: number): Promise<void> {
  const waiting = async (): Promise<number> => {
    const stats = await Promise.all(replicas.map(async ({ url }) => (await fetch(`${url}/internal/stats`)).json()));
    return (stats as { waiters: number }[]).reduce((sum, { waiters }) => sum + waiters, 0);
  };
  await expect.poll(waiting, { interval: 20, timeout: 20_000 }).toBe(count);
}

async function logIn(user: string): Promise<string> {
  const { status, headers } = await ask('/login', { 'content-type': 'application/json' }, JSON.stringify({ user }));
  expect(status).toBe(204);
  return String(headers['set-cookie']?.[0]).split(';')[0] ?? '';
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly raw: Buffer;
  readonly body: string;
}

function ask(path: string, headers: Readonly<Record<string, string>>, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = send(
      new URL(path, nginx.url),
      { method: body === undefined ? 'GET' : 'POST', headers: { host: 'shop.example', ...headers }, agent: new Agent() },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const raw = Buffer.concat(chunks);
          const plain = response.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw;
          resolve({ status: response.statusCode, headers: response.headers, raw, body: plain.toString() });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
