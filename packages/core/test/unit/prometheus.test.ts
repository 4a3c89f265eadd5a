import { readFile } from 'node:fs/promises';
import { AggregatorRegistry, Counter, Registry, type OpenMetricsContentType } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { context, trace, TraceFlags } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { createCollapser, type Collapser, type Replica } from '../../src/index.js';
import { memoryHub } from '../../src/testing/index.js';
import { collectMetrics } from '../../src/prometheus/index.js';
import { VERSION } from '../../src/prometheus/version.js';
import { holdingCopies, NO_COPIES } from '../support/copies.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

/** Replicas on one manual clock, each with a registry of its own, as if each were a process. */
function start(size: number, ...options: Parameters<typeof cluster> extends [number, ...infer R] ? R : never) {
  const made = (current = cluster(size, ...options));
  const registries = made.replicas.map((replica) => {
    const registry = new Registry();
    collectMetrics(replica, { registry });
    return registry;
  });
  return { ...made, registries };
}

afterEach(async () => {
  await current?.closeAll();
  current = undefined;
});

describe('collectMetrics', () => {
  it('counts each call once, by how it was answered: the sum over outcomes is the number of calls', async () => {
    const { replicas, registries, clock, settleDown } = start(2, {}, { limits: { keyBytesMax: 40 } });
    const [first, second] = twoOf(replicas);
    const load = manualLoader();
    const leaves = new AbortController();
    const calls: Promise<unknown>[] = [first, first, second, second].map((replica) => replica.run('shared', load));
    await settleDown();
    calls.push(first.run('shared', load, { timeoutMs: 10 }), first.run('shared', load, { signal: leaves.signal }));
    calls.push(first.run('a key that is too long to be collapsed at all', () => 1));
    calls.push(first.run('fails', () => Promise.reject(new Error('no'))));
    const settled = Promise.allSettled(calls);
    leaves.abort();
    await clock.advance(20);
    load.runs[0]?.end('value');
    await settleDown();
    await settled;
    const outcomes = await Promise.all(registries.map((registry) => read(registry, 'requests_total')));
    expect(nonZero(outcomes[0], 'outcome')).toEqual({ leader: 1, local: 1, timeout: 1, aborted: 1, bypass: 1, error: 1 });
    expect(nonZero(outcomes[1], 'outcome')).toEqual({ remote: 1, local: 1 });
    for (const [index, replica] of replicas.entries()) expect(total(outcomes[index])).toBe(replica.stats().totals.calls);
    expect(total(await read(registries[0], 'executions_total'))).toBe(first.stats().totals.loads);
  });

  it('counts the followers of a load without its leader, and how long each caller waited for it', async () => {
    const { replicas, registries, clock, settleDown } = start(2);
    const [first, second] = twoOf(replicas);
    const load = manualLoader();
    const calls = [first, first, first, second].map((replica) => replica.run('k', load));
    await settleDown();
    await clock.advance(20);
    load.runs[0]?.end('value');
    await settleDown();
    await Promise.all(calls);
    expect(valueOf(await read(registries[0], 'followers_per_flight'), { metric: 'sum' })).toBe(2);
    expect(valueOf(await read(registries[0], 'wait_duration_seconds'), { metric: 'sum', scope: 'local' })).toBeCloseTo(0.04);
    expect(new Set(labels(await read(registries[0], 'wait_duration_seconds'), 'scope'))).toEqual(new Set(['local', 'remote']));
    expect(valueOf(await read(registries[1], 'wait_duration_seconds'), { metric: 'sum', scope: 'remote' })).toBeCloseTo(0.02);
    expect(valueOf(await read(registries[0], 'execution_duration_seconds'), { metric: 'sum' })).toBeCloseTo(0.02);
    expect(valueOf(await read(registries[0], 'result_size_bytes'), { metric: 'count' })).toBe(1);
  });

  it('in observe mode tells how many calls would not have loaded', async () => {
    const registry = new Registry();
    const collapser = createCollapser({ mode: 'observe' });
    collectMetrics(collapser, { registry });
    const load = manualLoader();
    const calls = [1, 2, 3, 4].map(() => collapser.run('k', load));
    for (const run of load.runs) run.end('v');
    await Promise.all(calls);
    expect(total(await read(registry, 'executions_total'))).toBe(4);
    expect(total(await read(registry, 'collapsible_total'))).toBe(3);
    expect(nonZero(await read(registry, 'bypasses_total'), 'reason')).toEqual({ observe: 4 });
  });

  it('reads gauges when it is asked: flights, loads, callers who wait, watchers', async () => {
    const registry = new Registry();
    const collapser = createCollapser();
    collectMetrics(collapser, { registry });
    const load = manualLoader();
    const calls = ['a', 'a', 'b'].map((key) => collapser.run(key, load));
    const gauges = async () =>
      Promise.all(['inflight_keys', 'inflight_executions', 'waiters', 'watchers'].map(async (name) => total(await read(registry, name))));
    expect(await gauges()).toEqual([2, 2, 3, 0]);
    for (const run of load.runs) run.end('v');
    await Promise.all(calls);
    await new Promise(setImmediate);
    expect(await gauges()).toEqual([0, 0, 0, 0]);
  });

  it('tells of trouble with the coordinator: errors, degraded, deaf, duplicates, takeovers, refused messages', async () => {
    const { replicas, registries, coordinators, network, clock, hub, settleDown } = start(2);
    const [first, second] = twoOf(replicas);
    const load = manualLoader();
    const calls = [first.run('k', load)];
    await settleDown();
    calls.push(second.run('k', load));
    const wakesUp = network.hold(legs(0, 'request'));
    coordinators[1]?.deafen();
    expect(total(await read(registries[1], 'coordinator_listening'))).toBe(0);
    await clock.advance(4_000);
    load.runs[0]?.end('late');
    wakesUp();
    await settleDown();
    load.runs[1]?.end('taken over');
    await settleDown();
    await Promise.all(calls);
    expect(total(await read(registries[0], 'duplicate_executions_total'))).toBe(1);
    expect(nonZero(await read(registries[1], 'elections_total'), 'result')).toMatchObject({ lost: 1, takeover: 1 });
    hub.outage(true);
    const alone = first.run('alone', () => 1);
    await clock.advance(1_000);
    await alone;
    expect(nonZero(await read(registries[0], 'requests_total'), 'outcome')).toMatchObject({ degraded: 1 });
    expect(total(await read(registries[0], 'coordinator_degraded'))).toBe(1);
    expect(nonZero(await read(registries[0], 'coordinator_errors_total'), 'error')).toMatchObject({ unavailable: expect.any(Number) });
    hub.outage(false);
    await settleDown();
    expect(total(await read(registries[1], 'coordinator_listening'))).toBe(0);
    expect(total(await read(registries[0], 'coordinator_listening'))).toBe(1);
  });

  it('shows the state of the circuit breaker, and counts messages that were refused by reason', async () => {
    const registry = new Registry();
    let receive: Replica['receive'] = () => {};
    const coordinator = memoryHub().coordinator();
    const collapser = createCollapser({
      coordinator: {
        clock: coordinator.clock,
        connect(replica) {
          receive = (message) => replica.receive(message);
          return coordinator.connect(replica);
        },
      },
    });
    collectMetrics(collapser, { registry });
    expect(nonZero(await read(registry, 'circuit_state'), 'state')).toEqual({ closed: 1 });
    receive({ kind: 'circuit', state: 'open' });
    receive({ kind: 'rejected', reason: 'bad_signature' });
    receive({ kind: 'rejected', reason: 'stale_token' });
    expect(nonZero(await read(registry, 'circuit_state'), 'state')).toEqual({ open: 1 });
    expect(nonZero(await read(registry, 'messages_rejected_total'), 'reason')).toEqual({ bad_signature: 1, stale_token: 1 });
    await collapser.close();
  });

  it('has every series at 0 from the start', async () => {
    const registry = new Registry();
    const coordinator = holdingCopies(memoryHub().coordinator(), () => NO_COPIES);
    collectMetrics(createCollapser({ name: 'api', coordinator }), { registry });
    expect(labels(await read(registry, 'requests_total'), 'outcome')).toHaveLength(11);
    expect(labels(await read(registry, 'executions_total'), 'result')).toHaveLength(12);
    expect(total(await read(registry, 'coordinator_errors_total'))).toBe(0);
    for (const metric of await registry.getMetricsAsJSON()) expect(metric.values.length, metric.name).toBeGreaterThan(0);
  });

  it('keeps several collapsers of one registry apart by their names', async () => {
    const registry = new Registry();
    const collapsers = ['a', 'b'].map((name) => createCollapser({ name }));
    for (const collapser of collapsers) collectMetrics(collapser, { registry });
    await collapsers[1]?.run('k', () => 1);
    expect(nonZero(await read(registry, 'requests_total'), 'namespace')).toEqual({ b: 1 });
  });

  it('has 50 namespaces at most; what comes then is other', async () => {
    const registry = new Registry();
    const collapsers = Array.from({ length: 60 }, (_, index) => createCollapser({ name: `name-${index}` }));
    for (const collapser of collapsers) collectMetrics(collapser, { registry });
    await Promise.all(collapsers.map((collapser) => collapser.run('k', () => 1)));
    const seen = nonZero(await read(registry, 'requests_total'), 'namespace');
    expect(Object.keys(seen)).toHaveLength(51);
    expect(seen['other']).toBe(10);
  });

  it('has as many series after 100,000 different keys as before', async () => {
    const registry = new Registry();
    const collapser = createCollapser();
    collectMetrics(collapser, { registry });
    const count = async () => (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
    const before = await count();
    for (let key = 0; key < 100_000; key += 1_000) {
      await Promise.all(Array.from({ length: 1_000 }, (_, index) => collapser.run(`key ${key + index}`, () => 1)));
    }
    expect(total(await read(registry, 'requests_total'))).toBe(100_000);
    expect(await count()).toBe(before);
  }, 30_000);

  it('stops: the collapser is counted no more, its gauges go, its counters stay', async () => {
    const registry = new Registry();
    const collapser = createCollapser();
    const stop = collectMetrics(collapser, { registry });
    await collapser.run('k', () => 1);
    stop();
    await collapser.run('k', () => 1);
    expect(total(await read(registry, 'requests_total'))).toBe(1);
    expect(await read(registry, 'waiters')).toEqual([]);
    collectMetrics(collapser, { registry });
    await collapser.run('k', () => 1);
    expect(total(await read(registry, 'requests_total'))).toBe(2);
  });

  it('tells of the copies that a process holds from its call on, adds up those of one name, and keeps what it counted', async () => {
    const registry = new Registry();
    let now = { ...NO_COPIES, hits: 100, misses: 10, evicted: 1 };
    const coordinator = holdingCopies(memoryHub().coordinator(), () => now);
    const collapsers = [1, 2].map(() => createCollapser({ name: 'seats', coordinator }));
    const stops = collapsers.map((collapser) => collectMetrics(collapser, { registry }));
    now = { ...now, hits: 103, outdated: 2, evicted: 2, invalidated: 4, cleared: 5, entries: 3, bytes: 600 };
    const reads = async () => nonZero(await read(registry, 'copy_reads_total'), 'result');
    expect(await reads()).toEqual({ hit: 6, outdated: 4 });
    expect(nonZero(await read(registry, 'copies_dropped_total'), 'reason')).toEqual({ evicted: 2, invalidated: 8, cleared: 10 });
    const gauges = ['copies', 'copies_bytes', 'copies_limit_bytes'];
    expect(await Promise.all(gauges.map(async (name) => total(await read(registry, name))))).toEqual([6, 1_200, 2_000]);
    stops[0]?.();
    now = { ...now, hits: 110 };
    expect(await reads()).toEqual({ hit: 13, outdated: 4 });
    expect(total(await read(registry, 'copies'))).toBe(3);
    for (const collapser of collapsers) await collapser.close();
  });

  it('has no series of copies where none are held', async () => {
    const { registries } = start(1);
    expect(await read(registries[0], 'copy_reads_total')).toEqual([]);
  });

  it('begins anew in a registry that was cleared', async () => {
    const registry = new Registry();
    const collapser = createCollapser();
    collectMetrics(collapser, { registry });
    registry.clear();
    collectMetrics(collapser, { registry });
    await collapser.run('k', () => 1);
    expect(total(await read(registry, 'requests_total'))).toBe(1);
  });

  it('names metrics with the prefix that it is given, and uses the global registry when none is', async () => {
    const registry = new Registry();
    collectMetrics(createCollapser(), { registry, prefix: 'shop_' });
    expect(registry.getSingleMetric('shop_requests_total')).toBeDefined();
    const { register } = await import('prom-client');
    const stop = collectMetrics(createCollapser());
    expect(register.getSingleMetric('oneflight_requests_total')).toBeDefined();
    stop();
    register.clear();
  });

  it('tells the version of the package', async () => {
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
    expect(VERSION, 'src/prometheus/version.ts').toBe(version);
  });
});

describe('collectMetrics refuses', () => {
  const refused = (act: () => unknown) => {
    try {
      act();
    } catch (error) {
      return error as TypeError & { code: string };
    }
    throw new Error('expected an error, got none');
  };

  it('a collapser that the registry collects already', () => {
    const collapser = createCollapser();
    const registry = new Registry();
    collectMetrics(collapser, { registry });
    expect(refused(() => collectMetrics(collapser, { registry }))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_ONEFLIGHT_METRICS',
      message: 'expected a collapser that this registry does not collect yet, got one that it does',
    });
    expect(refused(() => collectMetrics(collapser, { registry, prefix: 'other_' })).code).toBe('ERR_ONEFLIGHT_METRICS');
    expect(() => collectMetrics(collapser, { registry: new Registry() })).not.toThrow();
  });

  it('a registry that has metrics of these names from elsewhere, and leaves it as it was', () => {
    const registry = new Registry();
    registry.registerMetric(new Counter({ name: 'oneflight_waiters', help: 'Foreign.', registers: [] }));
    expect(refused(() => collectMetrics(createCollapser(), { registry }))).toMatchObject({
      code: 'ERR_ONEFLIGHT_METRICS',
      message: expect.stringContaining('got one that has oneflight_waiters'),
    });
    expect(registry.getMetricsAsArray()).toHaveLength(1);
  });

  it('exemplars in a registry that cannot show them', () => {
    expect(refused(() => collectMetrics(createCollapser(), { registry: new Registry(), exemplars: true }))).toMatchObject({
      code: 'ERR_ONEFLIGHT_METRICS',
      message: expect.stringContaining('a registry of type OpenMetrics'),
    });
    const registry = openMetrics();
    collectMetrics(createCollapser(), { registry });
    expect(refused(() => collectMetrics(createCollapser(), { registry, exemplars: true })).code).toBe('ERR_ONEFLIGHT_METRICS');
  });

  it('what is no collapser, no registry, no prefix', () => {
    const codes = [
      () => collectMetrics({} as Collapser),
      () => collectMetrics(createCollapser(), { registry: {} as Registry }),
      () => collectMetrics(createCollapser(), { prefix: '1-' }),
      () => collectMetrics(createCollapser(), { exemplar: true } as object),
    ].map((act) => refused(act).code);
    expect(codes).toEqual(Array.from({ length: 4 }, () => 'ERR_ONEFLIGHT_OPTION'));
  });
});

describe('exemplars', () => {
  it('name the trace of the caller that led, where it is sampled', async () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const registry = openMetrics();
    const collapser = createCollapser();
    collectMetrics(collapser, { registry, exemplars: true });
    const inTrace = (traceId: string, traceFlags: TraceFlags) =>
      context.with(trace.setSpanContext(context.active(), { traceId, spanId: 'b'.repeat(16), traceFlags }), () =>
        collapser.run('k', () => Promise.resolve(1)),
      );
    await inTrace('a'.repeat(32), TraceFlags.SAMPLED);
    await inTrace('c'.repeat(32), TraceFlags.NONE);
    await new Promise(setImmediate);
    const text = await registry.metrics();
    expect(text).toMatch(/execution_duration_seconds_bucket.*# \{trace_id="a{32}",span_id="b{16}"\} \d/);
    expect(text).not.toContain('c'.repeat(32));
    context.disable();
  });
});

describe('the workers of a cluster', () => {
  it('become one: counters and gauges of load add up, trouble of one shows', async () => {
    const { replicas, registries, coordinators, settleDown } = start(2);
    const [first, second] = twoOf(replicas);
    const load = manualLoader();
    const calls = [first, first, second].map((replica) => replica.run('k', load));
    await settleDown();
    coordinators[1]?.deafen();
    const aggregated = await aggregate(registries);
    expect(total(await read(aggregated, 'waiters'))).toBe(3);
    expect(total(await read(aggregated, 'inflight_executions'))).toBe(1);
    expect(total(await read(aggregated, 'coordinator_listening'))).toBe(0);
    expect(total(await read(aggregated, 'coordinator_degraded'))).toBe(0);
    expect(nonZero(await read(aggregated, 'circuit_state'), 'state')).toEqual({ closed: 1 });
    expect(total(await read(aggregated, 'build_info'))).toBe(1);
    load.runs[0]?.end('v');
    coordinators[1]?.listen();
    await settleDown();
    await Promise.all(calls);
    expect(total(await read(await aggregate(registries), 'requests_total'))).toBe(3);
  });

  it('each metric says how it is aggregated', async () => {
    const registry = new Registry();
    collectMetrics(createCollapser(), { registry });
    const aggregators = Object.fromEntries(
      registry.getMetricsAsArray().map(({ name, aggregator }) => [name.replace('oneflight_', ''), aggregator]),
    );
    const { coordinator_degraded, coordinator_listening, circuit_state, build_info, ...others } = aggregators;
    expect({ coordinator_degraded, coordinator_listening, circuit_state, build_info }).toEqual({
      coordinator_degraded: 'max',
      coordinator_listening: 'min',
      circuit_state: 'max',
      build_info: 'first',
    });
    expect(new Set(Object.values(others))).toEqual(new Set(['sum']));
  });
});

interface Series {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number | undefined>>;
  readonly metricName?: string;
}

async function read(registry: Registry | undefined, name: string): Promise<readonly Series[]> {
  const metric = registry?.getSingleMetric(`oneflight_${name}`);
  if (metric === undefined) throw new Error(`expected a metric ${name}, got none`);
  return (await metric.get()).values;
}

function total(series: readonly Series[] = []): number {
  return series.reduce((sum, { value }) => sum + value, 0);
}

function labels(series: readonly Series[], name: string): unknown[] {
  return series.map((one) => one.labels[name]);
}

function nonZero(series: readonly Series[] = [], label: string): Record<string, number> {
  const values: Record<string, number> = {};
  for (const {
    value,
    labels: { [label]: name = '' },
  } of series)
    if (value > 0) values[name] = (values[name] ?? 0) + value;
  return values;
}

/** The sum or count of a histogram. */
function valueOf(series: readonly Series[], { metric, ...wanted }: { metric: string; [label: string]: string }): number | undefined {
  return series.find(
    ({ metricName = '', labels: has }) =>
      metricName.endsWith(metric) && Object.entries(wanted).every(([name, value]) => has[name] === value),
  )?.value;
}

async function aggregate(registries: readonly Registry[]): Promise<Registry> {
  return AggregatorRegistry.aggregate(await Promise.all(registries.map((registry) => registry.getMetricsAsJSON())));
}

function openMetrics(): Registry<OpenMetricsContentType> {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  return registry;
}

function twoOf(replicas: readonly Collapser[]): readonly [Collapser, Collapser] {
  const [first, second] = replicas;
  if (first === undefined || second === undefined) throw new Error('expected two replicas');
  return [first, second];
}
