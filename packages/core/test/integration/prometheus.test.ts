import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  chosen,
  dashboard,
  drawn,
  fileOf,
  findPrometheus,
  type PrometheusServer,
  rulesOf,
  runPromtool,
  type Sample,
  startPrometheus,
  waitFor,
} from '@oneflight/testkit';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCollapser, systemClock, type Collapser, type CopyStats } from '../../src/index.js';
import { collectMetrics } from '../../src/prometheus/index.js';
import { memoryHub } from '../../src/testing/index.js';
import { holdingCopies, NO_COPIES } from '../support/copies.js';

const found = findPrometheus();
const missing = 'missing' in found ? found.missing : undefined;
const programs = 'missing' in found ? { prometheus: '', promtool: '' } : found;
/** Why these tests are left out where they are. */
const because = missing === undefined ? '' : ` (skipped: ${missing})`;

/** Two replicas over one hub, each with its own page of metrics, and callers that do not stop before the end. */
let replicas: Collapser[];
let registries: Registry[];
let servers: Server[];
let prometheus: PrometheusServer;
const end = new AbortController();
let callers: Promise<unknown>;

beforeAll(async () => {
  if (missing !== undefined) return;
  const hub = memoryHub({ clock: systemClock, network: { send: (_leg, deliver) => void setTimeout(deliver, 1) } });
  replicas = [1, 2].map(() =>
    createCollapser({ name: 'seats', coordinator: holdingCopies(hub.coordinator(), copies), limits: { keyBytesMax: 100 } }),
  );
  replicas.push(createCollapser({ name: 'observed', mode: 'observe' }));
  registries = [new Registry(), new Registry()];
  replicas.forEach((replica, index) => collectMetrics(replica, { registry: registries[index % 2] ?? new Registry() }));
  servers = await Promise.all(registries.map(serve));
  prometheus = await startPrometheus(
    programs.prometheus,
    servers.map((server) => (server.address() as AddressInfo).port),
  );
  callers = Promise.all(replicas.map(callOn));
}, 60_000);

afterAll(async () => {
  end.abort();
  await callers;
  await prometheus?.stop();
  for (const server of servers ?? []) server.close().closeAllConnections();
  for (const replica of replicas ?? []) await replica.close();
});

describe.skipIf(missing !== undefined)(`a real Prometheus${because}`, () => {
  it('answers every expression of every panel with data', async () => {
    const targets = drawn(await dashboard()).flatMap(({ title, targets: own = [] }) =>
      own.map(({ expr }) => ({ title, expr: chosen(expr) })),
    );
    const empty = new Map<string, string>();
    await waitFor(
      async () => {
        empty.clear();
        for (const { title, expr } of targets) if (!hasData(await prometheus.query(expr))) empty.set(title, expr);
        return empty.size === 0;
      },
      { timeoutMs: 40_000, everyMs: 500, what: 'data in every panel' },
    ).catch(() => undefined);
    expect([...empty]).toEqual([]);
    expect(targets.length).toBeGreaterThan(30);
  });

  it('sees that most calls needed no load of their own, and the same numbers as the collapsers themselves', async () => {
    const [saved] = await prometheus.query(
      chosen(
        '1 - sum(rate(oneflight_executions_total{namespace="seats"}[10s])) / sum(rate(oneflight_requests_total{namespace="seats"}[10s]))',
      ),
    );
    expect(saved?.value).toBeGreaterThan(0.5);
    const [observed] = await prometheus.query(
      'sum(rate(oneflight_collapsible_total[10s])) / sum(rate(oneflight_requests_total{namespace="observed"}[10s]))',
    );
    expect(observed?.value).toBeGreaterThan(0.5);
  });

  it('can evaluate every recording rule and every alert', async () => {
    for (const { expr } of [...(await rulesOf('observability/rules.yml')), ...(await rulesOf('observability/alerts.yml'))]) {
      await expect(prometheus.query(expr)).resolves.toBeInstanceOf(Array);
    }
  });
});

describe.skipIf(missing !== undefined)(`promtool${because}`, () => {
  it('finds nothing wrong with the metrics', async () => {
    const page = (await registries[0]?.metrics()) ?? '';
    expect(await runPromtool(programs.promtool, ['check', 'metrics'], page)).toEqual({ code: 0, output: '' });
  });

  it('finds nothing wrong with the rules and alerts, and their tests pass', async () => {
    const paths = (...names: string[]): string[] => names.map((name) => fileURLToPath(fileOf(`observability/${name}`)));
    const rules = paths('rules.yml', 'alerts.yml', 'http-alerts.yml');
    expect(await runPromtool(programs.promtool, ['check', 'rules', '--lint-fatal', ...rules])).toMatchObject({ code: 0 });
    for (const tests of paths('rules.test.yml', 'http-rules.test.yml')) {
      const result = await runPromtool(programs.promtool, ['test', 'rules', tests]);
      expect(result, result.output).toMatchObject({ code: 0 });
    }
  });

  it('finds nothing wrong with the configuration that ships', async () => {
    const result = await runPromtool(programs.promtool, ['check', 'config', fileURLToPath(fileOf('observability/prometheus.yml'))]);
    expect(result, result.output).toMatchObject({ code: 0 });
  });
});

/** The hub holds no copies: these are numbers that grow, as those of a process that does. */
function copies(): CopyStats {
  const reads = Math.round(performance.now());
  return { ...NO_COPIES, hits: reads, misses: reads / 2, outdated: reads / 4, evicted: reads / 8, entries: 3, bytes: 900 };
}

/** Callers of one replica: ten at a time for a few keys, and now and then one that is not collapsed, fails, or leaves. */
async function callOn(replica: Collapser): Promise<void> {
  const load = () => sleep(20, { rows: 'x'.repeat(2_000) });
  for (let round = 0; !end.signal.aborted; round++) {
    await Promise.allSettled([
      ...Array.from({ length: 10 }, (_, index) => replica.run(`key ${round % 3} ${index % 2}`, load)),
      replica.run('a key that is not collapsed because it is longer than the limit of this collapser'.repeat(2), load),
      replica.run(`fails ${round}`, () => Promise.reject(new Error('no'))),
      replica.run(`slow ${round}`, load, { timeoutMs: 1 }),
      replica.run(`unique ${round}`, () => ({ f() {} })),
    ]);
    if (round % 10 === 0) await replica.invalidate('key 0 0');
  }
}

async function serve(registry: Registry): Promise<Server> {
  const server = createServer((_request, response) => {
    void registry.metrics().then((page) => response.setHeader('content-type', registry.contentType).end(page));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function hasData(samples: readonly Sample[]): boolean {
  return samples.some(({ value }) => Number.isFinite(value));
}
