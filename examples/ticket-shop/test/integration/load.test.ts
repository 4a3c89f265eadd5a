import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { type PostgresServer, startPostgres, startRedis, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import type * as Seats from '../../load/seats.js';

/*
 * The k6 script and the metrics that it is judged by, against a replica of the shop. k6 itself is not there: its modules are
 * stand-ins, and each request that the script makes is sent for real.
 */
const k6 = vi.hoisted(() => ({
  requests: [] as string[],
  recorded: {} as Record<string, number[]>,
  get: (_url: string): { status: number; body: string } => ({ status: 0, body: '' }),
}));
vi.mock('k6', () => ({
  check: (value: unknown, checks: Record<string, (value: unknown) => boolean>) => Object.values(checks).every((holds) => holds(value)),
  fail(message: string) {
    throw new Error(message);
  },
  sleep: () => {},
}));
vi.mock('k6/http', () => ({
  default: {
    get(url: string) {
      k6.requests.push(url);
      const answer = k6.get(url);
      const read = (path: string): unknown =>
        path.split('.').reduce<unknown>((at, name) => Reflect.get(Object(at), name), JSON.parse(answer.body));
      return { ...answer, json: read, timings: { duration: 1 } };
    },
  },
}));
vi.mock('k6/metrics', () => {
  class Metric {
    readonly #name: string;
    constructor(name: string) {
      this.#name = name;
    }
    add(value: number | boolean): void {
      (k6.recorded[this.#name] ??= []).push(Number(value));
    }
  }
  return { Gauge: Metric, Rate: Metric, Trend: Metric };
});

const PROMETHEUS = 'http://prometheus:9090';
let postgres: PostgresServer;
let redis: TestServer;
let replica: ChildProcess;
let shopUrl: string;
let metricsUrl: string;

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  const main = fileURLToPath(new URL('../../dist/server/main.js', import.meta.url));
  if (!existsSync(main)) throw new Error('the ticket shop is not built: run `npx tsc -b` first');
  const env = { ...process.env, DATABASE_URL: postgres.url, REDIS_URL: redis.url, PORT: '0', METRICS_PORT: '0', POOL_SIZE: '2' };
  replica = fork(main, [], { env, execArgv: [] });
  const [{ port, metricsPort }] = (await once(replica, 'message')) as [{ port: number; metricsPort: number }];
  shopUrl = `http://127.0.0.1:${port}`;
  metricsUrl = `http://127.0.0.1:${metricsPort}/metrics`;
});

afterAll(async () => {
  if (replica?.exitCode === null) {
    const exited = once(replica, 'exit');
    replica.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
  }
  await Promise.all([postgres?.stop(), redis?.stop()]);
});

describe('/metrics of a replica', () => {
  it('tells of its collapsers and counts seat queries, collapsed or not', async () => {
    const before = await metric('ticket_shop_seat_queries_total');
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${shopUrl}/api/matches/1/blocks/7/seats`)));
    const queries = (await metric('ticket_shop_seat_queries_total')) - before;
    const requests = await metric('oneflight_requests_total{namespace="ticket-shop",outcome="leader"}');
    expect(queries).toBeGreaterThan(0);
    expect(queries).toBeLessThanOrEqual(20);
    expect(requests).toBe(queries + before);
    expect(await metric('oneflight_requests_total{namespace="ticket-shop-process",outcome="leader"}')).toBe(0);
  });

  it('is on a port of its own, and nothing of it on that of the shop, however the path is spelled', async () => {
    for (const path of [
      '/metrics',
      '/METRICS',
      '/metrics/',
      '/api/../metrics',
      '/api/%2e%2e/metrics',
      '//metrics',
      '/%6detrics',
      '/metrics?a',
    ]) {
      const response = await fetch(shopUrl + path);
      expect([path, response.status, await response.text()]).toEqual([path, 404, expect.not.stringContaining('oneflight_')]);
    }
    expect((await fetch(metricsUrl.replace('/metrics', '/'))).status).toBe(404);
    expect((await fetch(metricsUrl, { method: 'POST' })).status).toBe(404);
  });
});

describe('load/seats.ts', () => {
  beforeEach(() => {
    vi.resetModules();
    k6.requests.length = 0;
    k6.recorded = {};
    k6.get = (url) => (url.startsWith(PROMETHEUS) ? queried(url) : requested(url));
  });

  it('asks for seats that the shop has, and takes nothing else for an answer', async () => {
    const { lookAtSeats } = await script({ SHOP_URL: shopUrl, BLOCKS: '25' });
    for (let user = 0; user < 3; user++) lookAtSeats();
    expect(k6.recorded['seat_failures']).toEqual([0, 0, 0]);
    for (const url of k6.requests) expect(url).toMatch(/\/api\/matches\/1\/blocks\/([1-9]|1\d|2[0-5])\/seats$/);
    k6.get = () => ({ status: 200, body: '{"matchId":1,"blockId":26,"rows":[]}' });
    lookAtSeats();
    k6.get = () => ({ status: 502, body: '"blockId":1,' });
    lookAtSeats();
    expect(k6.recorded['seat_failures']?.slice(3)).toEqual([1, 1]);
    expect(k6.recorded['seat_answer_ms']).toHaveLength(5);
  });

  it('measures only a shop that collapses as it should', async () => {
    expect((await script({ SHOP_URL: shopUrl, COLLAPSE: 'cluster' })).setup()).toEqual({ queries: undefined });
    const { setup } = await script({ SHOP_URL: shopUrl, COLLAPSE: 'off' });
    expect(setup).toThrow('expected a shop with COLLAPSE=off, got "cluster"');
  });

  it('tells requests, database queries, latencies and failures, of a metric that the replicas have', async () => {
    const { setup, teardown, handleSummary } = await script({ SHOP_URL: shopUrl, PROMETHEUS_URL: PROMETHEUS });
    const start = setup();
    prometheusHas += 12;
    teardown(start);
    expect(k6.recorded['seat_queries']).toEqual([12]);
    const query = new URL(k6.requests.at(-1) ?? '').searchParams.get('query') ?? '';
    expect(await metric(/sum\((\w+)\)/.exec(query)?.[1] ?? 'none')).toBeGreaterThanOrEqual(0);
    const metrics = {
      seat_answer_ms: { values: { count: 1_000, med: 40.4, 'p(95)': 95 } },
      seat_queries: { values: { value: 12 } },
      seat_failures: { values: { passes: 3, fails: 997 } },
    };
    expect(handleSummary({ metrics })['stdout']?.replaceAll(/ +/g, ' ')).toBe(
      'collapse=cluster\nrequests 1000\ndatabase queries 12\np50 40 ms\np95 95 ms\nfailures 3\n',
    );
  });

  it('is 1,000 users for two minutes unless it is told otherwise, and runs only what it exports', async () => {
    const module = await script({});
    expect(module.options.scenarios.seats).toMatchObject({ executor: 'constant-vus', vus: 1_000, duration: '2m' });
    expect(module).toHaveProperty(module.options.scenarios.seats.exec);
    const { options } = await script({ VUS: '7', DURATION: '3s' });
    expect(options.scenarios.seats).toMatchObject({ vus: 7, duration: '3s' });
  });
});

/** What Prometheus would say that it has counted. */
let prometheusHas = 100;

function queried(url: string): { status: number; body: string } {
  expect(new URL(url).pathname).toBe('/api/v1/query');
  return { status: 200, body: JSON.stringify({ data: { result: [{ value: [0, String(prometheusHas)] }] } }) };
}

/** k6 does not wait with promises, so neither can this: another process asks. */
function requested(url: string): { status: number; body: string } {
  const code = `fetch(process.argv[1]).then(async (r) => console.log(JSON.stringify({ status: r.status, body: await r.text() })))`;
  const { stdout } = spawnSync(process.execPath, ['-e', code, url], { encoding: 'utf8' });
  return JSON.parse(stdout) as { status: number; body: string };
}

/** The script as k6 would load it with these variables. */
async function script(env: Record<string, string>): Promise<typeof Seats> {
  vi.resetModules();
  vi.stubGlobal('__ENV', env);
  return import('../../load/seats.js');
}

/** One series of the replica's page. */
async function metric(series: string): Promise<number> {
  const page = await (await fetch(metricsUrl)).text();
  const line = page.split('\n').find((one) => one.startsWith(`${series} `));
  if (line === undefined) throw new Error(`expected ${series} on the page, got none`);
  return Number(line.slice(series.length + 1));
}
