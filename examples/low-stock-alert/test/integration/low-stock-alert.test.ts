import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type PostgresServer, startApp, startPostgres, startRedis, type TestApp, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/* Four replicas as processes, a real PostgreSQL and Redis, and a server that is told the alerts and may keep them waiting. */
const REPLICAS = 4;

interface Alert {
  readonly keyword: string;
  readonly response: ServerResponse;
}

interface Page {
  readonly total: number;
  readonly products: readonly { readonly id: number }[];
}

let postgres: PostgresServer;
let redis: TestServer;
let probe: Redis;
let desk: Server;
const alerts: Alert[] = [];
/** Whether the desk keeps alerts waiting, or what it answers. */
let answer: 'wait' | 200 | 503 = 200;
let replicas: readonly TestApp[] = [];

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  probe = new Redis(redis.url);
  desk = createServer((request, response) => void take(request, response)).listen(0, '127.0.0.1');
  await once(desk, 'listening');
  replicas = await Promise.all(Array.from({ length: REPLICAS }, startReplica));
});

afterAll(async () => {
  for (const { response } of alerts) response.destroy();
  await Promise.all(replicas.map((replica) => replica.stop()));
  desk?.close();
  probe?.disconnect();
  await Promise.all([postgres?.stop(), redis?.stop()]);
});

describe('the search', () => {
  it('alerts once for a keyword that is running low, however many search for it on all replicas', async () => {
    await Promise.all(Array.from({ length: 100 }, (_, turn) => search(turn, turn % 2 === 0 ? 'vinyl' : ' VINYL ')));
    await Promise.all(replicas.map((_, turn) => search(turn, 'vinyl')));
    await alertsSettled();
    expect(alertsFor('vinyl')).toHaveLength(1);
  });

  it('gives everybody a whole page in an order of its own', async () => {
    const pages = await Promise.all(Array.from({ length: 100 }, (_, turn) => search(turn, 'poster')));
    expect(pages.map(({ total, products }) => [total, products.length, new Set(products.map(({ id }) => id)).size])).toEqual(
      Array(100).fill([25, 5, 5]),
    );
    expect(new Set(pages.map(({ products }) => products.map(({ id }) => id).join())).size).toBeGreaterThan(90);
    expect(alertsFor('poster'), 'there are plenty').toEqual([]);
  });

  it('alerts again when the replica that alerts dies before it is done, and once only', async () => {
    const doomed = await startReplica();
    answer = 'wait';
    await page(doomed, 'cassette');
    await waitFor(() => alertsFor('cassette').length === 1);
    await Promise.all(replicas.map((_, turn) => search(turn, 'cassette')));
    await waitFor(async () => (await waiting()) === REPLICAS, { what: 'the other replicas to wait for the alert' });
    await doomed.kill9();
    await waitFor(() => alertsFor('cassette').length === 2);
    answer = 200;
    alertsFor('cassette')[1]?.response.end();
    await alertsSettled();
    await Promise.all(replicas.map((_, turn) => search(turn, 'cassette')));
    await alertsSettled();
    expect(alertsFor('cassette')).toHaveLength(2);
  });

  it('finds the products also when nobody can be told, and tries again with the next search', async () => {
    answer = 503;
    expect(await search(0, 'record 1')).toMatchObject({ total: 4 });
    await waitFor(() => alertsFor('record 1').length === 1);
    await alertsSettled();
    answer = 200;
    await search(1, 'record 1');
    await waitFor(() => alertsFor('record 1').length === 2);
    await alertsSettled();
    await search(2, 'record 1');
    await alertsSettled();
    expect(alertsFor('record 1')).toHaveLength(2);
  });

  it('alerts again in the next period', async () => {
    const hasty = await startReplica({ ALERT_EVERY_MS: '200' });
    await waitFor(async () => {
      await page(hasty, 'record 2');
      return alertsFor('record 2').length === 2;
    });
    expect(await hasty.stop()).toBe(0);
  });
});

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = Buffer.concat(await request.toArray()).toString();
  alerts.push({ keyword: JSON.parse(body).keyword, response });
  if (answer !== 'wait') response.writeHead(answer).end();
}

function startReplica(more: Record<string, string> = {}): Promise<TestApp> {
  const address = desk.address();
  const ALERT_URL = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  return startApp(new URL('../../dist/main.js', import.meta.url), {
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    ALERT_URL,
    ...more,
  });
}

async function page(replica: TestApp | undefined, keyword: string): Promise<Page> {
  const response = await fetch(`${replica?.url}/search/${encodeURIComponent(keyword)}`);
  expect(response.status).toBe(200);
  return (await response.json()) as Page;
}

function search(turn: number, keyword: string): Promise<Page> {
  return page(replicas[turn % REPLICAS], keyword);
}

function alertsFor(keyword: string): readonly Alert[] {
  return alerts.filter((alert) => alert.keyword === keyword);
}

/** Replicas that wait for another one's flight. */
async function waiting(): Promise<number> {
  const sizes = await Promise.all((await probe.keys('*:w')).map((key) => probe.hlen(key)));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** No lease is held: no flight is under way that could still alert. */
async function alertsSettled(): Promise<void> {
  await waitFor(async () => (await probe.keys('*:l')).length === 0 && (await waiting()) === 0, { what: 'all flights to end' });
}
