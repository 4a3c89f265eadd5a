import { once } from 'node:events';
import { createServer, request as send, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Collapser, createCollapser, systemClock } from '@oneflight/core';
import { collectMetrics } from '@oneflight/core/prometheus';
import { memoryHub } from '@oneflight/core/testing';
import {
  chosen,
  dashboard,
  drawn,
  findPrometheus,
  type PrometheusServer,
  rulesOf,
  runPromtool,
  startPrometheus,
  waitFor,
} from '@oneflight/testkit';
import express, { type Express } from 'express';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { collapse, type CollapseHandler } from '../../src/index.js';
import { collectHttpMetrics } from '../../src/prometheus/index.js';

const found = findPrometheus();
const missing = 'missing' in found ? found.missing : undefined;
const programs = 'missing' in found ? { prometheus: '', promtool: '' } : found;

/** Two replicas of one shop, each with its own page of metrics, and clients that do not stop before the end. */
let collapsers: Collapser[];
let middlewares: CollapseHandler[];
let registries: Registry[];
let servers: Server[];
let prometheus: PrometheusServer;
const end = new AbortController();
let clients: Promise<unknown>;

beforeAll(async () => {
  if (missing !== undefined) return;
  const hub = memoryHub({ clock: systemClock });
  collapsers = [1, 2].map(() => createCollapser({ name: 'seats', coordinator: hub.coordinator() }));
  const options = { cache: 'http', timeoutMs: 250, skip: ({ path }: { path: string }) => path === '/skipped' } as const;
  middlewares = collapsers.map((collapser) => collapse(collapser, options));
  registries = collapsers.map(() => new Registry());
  servers = await Promise.all(middlewares.map((middleware, index) => listen(shopWith(middleware, registries[index]))));
  collapsers.forEach((collapser, index) => collectMetrics(collapser, { registry: registries[index] ?? new Registry() }));
  middlewares.forEach((middleware, index) => collectHttpMetrics(middleware, { registry: registries[index] ?? new Registry() }));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  prometheus = await startPrometheus(programs.prometheus, ports);
  clients = Promise.all(ports.map(askOn));
}, 60_000);

afterAll(async () => {
  end.abort();
  await clients;
  await prometheus?.stop();
  for (const server of servers ?? []) server.close().closeAllConnections();
  for (const collapser of collapsers ?? []) await collapser.close({ drainMs: 0 });
});

describe.skipIf(missing !== undefined)(`a real Prometheus${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  it('answers every expression of every panel for HTTP with data, of requests over HTTP', async () => {
    const targets = drawn(await dashboard('oneflight-http')).flatMap(({ title, targets: own = [] }) =>
      own.map(({ expr, legendFormat }) => ({ panel: `${title}: ${legendFormat}`, expr: chosen(expr) })),
    );
    const empty = new Map<string, string>();
    await waitFor(
      async () => {
        empty.clear();
        for (const { panel, expr } of targets) {
          const samples = await prometheus.query(expr);
          if (!samples.some(({ value }) => Number.isFinite(value))) empty.set(panel, expr);
        }
        return empty.size === 0;
      },
      { timeoutMs: 40_000, everyMs: 500, what: 'data in every panel' },
    ).catch(() => undefined);
    expect([...empty]).toEqual([]);
    expect(targets.length).toBeGreaterThan(20);
  });

  it('sees each way in which these requests end and each in which clients go away, above 0', async () => {
    const seen = async (label: string, metric: string): Promise<string[]> =>
      (await prometheus.query(`sum by (${label}) (${metric}) > 0`)).map(({ metric: of }) => of[label] ?? '').toSorted();
    const outcomes = ['bypass', 'copy', 'failed', 'fresh', 'handler', 'left', 'live', 'missing', 'stale', 'unserved'];
    await expect.poll(() => seen('outcome', 'oneflight_http_requests_total'), { timeout: 20_000, interval: 500 }).toEqual(outcomes);
    await expect
      .poll(() => seen('while', 'oneflight_http_left_total'), { timeout: 20_000, interval: 500 })
      .toEqual(['handling', 'reading', 'waiting']);
  });

  it('counts each request in exactly one outcome', async () => {
    end.abort();
    await clients;
    for (const middleware of middlewares) {
      const registry = new Registry();
      collectHttpMetrics(middleware, { registry });
      const sum = async (): Promise<number> => {
        const metric = await registry.getSingleMetric('oneflight_http_requests_total')?.get();
        return metric?.values.reduce((total, { value }) => total + value, 0) ?? -1;
      };
      const { collapsed, missing: lacking, bypassed } = middleware.stats();
      const came = collapsed + lacking + Object.values(bypassed).reduce((total, count) => total + count, 0);
      await expect.poll(sum).toBe(came);
    }
  });

  it('can evaluate every alert', async () => {
    for (const { expr } of await rulesOf('observability/http-alerts.yml')) {
      await expect(prometheus.query(expr)).resolves.toBeInstanceOf(Array);
    }
  });

  it('finds nothing wrong with the metrics of a middleware', async () => {
    const page = (await registries[0]?.metrics()) ?? '';
    expect(await runPromtool(programs.promtool, ['check', 'metrics'], page)).toEqual({ code: 0, output: '' });
  });
});

/** A shop whose answers are of all kinds. */
function shopWith(middleware: CollapseHandler, registry = new Registry()): Express {
  const app = express();
  app.get('/metrics', async (_request, response) => void response.type(registry.contentType).send(await registry.metrics()));
  app.use(middleware);
  app.get('/seats/:round', async (_request, response) => void response.json(await sleep(20, { rows: 'x'.repeat(500) })));
  app.get('/stored', async (_request, response) => {
    await sleep(20);
    response.set('Cache-Control', 'max-age=1, stale-while-revalidate=60').json({ rows: 1 });
  });
  app.get('/mine', (_request, response) => void response.set('Set-Cookie', 'a=b').json({ rows: 1 }));
  app.get('/broken/:round', async (_request, response) => void response.status(await sleep(20, 500)).end());
  app.get('/cut/:round', async (_request, response) => {
    response.write('the first half');
    await sleep(50);
    response.destroy();
  });
  app.get('/slow/:round', async (_request, response) => {
    for (let part = 0; part < 4; part++) {
      response.write(`part ${part} `);
      await sleep(30);
    }
    response.end();
  });
  app.get('/late/:round', async (_request, response) => void response.json(await sleep(300, { rows: 1 })));
  app.get('/skipped', (_request, response) => void response.end('not collapsed'));
  app.post('/stored', (_request, response) => void response.end('changed'));
  return app;
}

/** Clients of one replica: several at a time for one thing, and some that leave. */
async function askOn(port: number): Promise<void> {
  for (let round = 0; !end.signal.aborted; round++) {
    const many = (path: string, count: number): Promise<void>[] => Array.from({ length: count }, () => ask(port, path));
    await Promise.all([
      ...many(`/seats/${round}`, 10),
      ...many('/stored', 3),
      ...many('/mine', 2),
      ...many('/skipped', 1),
      ...many(`/broken/${port}-${round}`, 6),
      ...many(`/cut/${port}-${round}`, 4),
      ...many(`/slow/${port}-${round}`, 3),
      ...many(`/late/${port}-${round}`, 2),
      ask(port, '/nothing', { headers: { 'cache-control': 'only-if-cached' } }),
      ask(port, `/slow/${port}-${round}`, { leaveMs: 60 }),
      ask(port, `/seats/left-${port}-${round}`, { leaveMs: 10 }),
      ask(port, `/seats/left-${port}-${round}`, { leaveMs: 10 }),
    ]);
    if (round % 5 === 4) await ask(port, '/stored', { method: 'POST' });
  }
}

/** Asks, and reads all that comes; leaves after a while if it is to. */
function ask(
  port: number,
  path: string,
  more: { method?: string; headers?: Record<string, string>; leaveMs?: number } = {},
): Promise<void> {
  return new Promise((resolve) => {
    const { method = 'GET', headers = {}, leaveMs } = more;
    const request = send({ host: '127.0.0.1', port, path, method, headers: { host: 'shop.example', ...headers }, agent: false });
    request.on('response', (response) => response.on('error', () => {}).resume());
    request.on('error', () => {});
    request.on('close', () => resolve());
    request.end();
    if (leaveMs !== undefined) setTimeout(() => request.destroy(), leaveMs);
  });
}

async function listen(app: Express): Promise<Server> {
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
