import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCollapser, type LoadContext } from '../../src/index.js';
import { traceCollapser } from '../../src/opentelemetry/index.js';
import { cluster, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

const exporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = tracerProvider.getTracer('test');
let current: Cluster | undefined;

beforeEach(() => {
  exporter.reset();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});

afterEach(async () => {
  await current?.closeAll();
  current = undefined;
  context.disable();
});

const traced = (options: Parameters<typeof createCollapser>[0] = {}) =>
  traceCollapser(createCollapser({ name: 'api', ...options }), { tracerProvider });

describe('traceCollapser', () => {
  it('makes one span per call; followers of this process link to the span of their leader and are not its children', async () => {
    const collapser = traced();
    const load = manualLoader();
    const calls = [1, 2, 3].map(() => collapser.run('secret key', load));
    load.runs[0]?.end('secret value');
    await Promise.all(calls);
    const spans = exporter.getFinishedSpans();
    expect(spans.map(({ name, kind }) => [name, kind])).toEqual(Array.from({ length: 3 }, () => ['collapse api', SpanKind.INTERNAL]));
    const [leader, ...followers] = spans.toSorted((a, b) =>
      String(b.attributes['collapse.role']).localeCompare(String(a.attributes['collapse.role'])),
    );
    expect(leader?.attributes).toMatchObject({
      'collapse.namespace': 'api',
      'collapse.role': 'leader',
      'collapse.outcome': 'leader',
      'collapse.followers': 2,
    });
    for (const follower of followers) {
      expect(follower.attributes).toMatchObject({ 'collapse.role': 'follower', 'collapse.outcome': 'local', 'collapse.scope': 'local' });
      expect(follower.links.map((link) => link.context.spanId)).toEqual([leader?.spanContext().spanId]);
      expect(follower.parentSpanContext).toBeUndefined();
    }
    expect(JSON.stringify(spans.map(facts))).not.toContain('secret');
  });

  it("runs the loader inside the leader's span, and the span inside the caller's", async () => {
    const collapser = traced();
    const caller = tracer.startSpan('request');
    await context.with(trace.setSpan(ROOT_CONTEXT, caller), () =>
      collapser.run('k', async () => {
        await Promise.resolve();
        tracer.startSpan('query').end();
      }),
    );
    const [query, call] = exporter.getFinishedSpans();
    expect(query?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
    expect(call?.parentSpanContext?.spanId).toBe(caller.spanContext().spanId);
  });

  it('links all who wait on another replica to the span of the leader, and names its flight', async () => {
    const { made, first, second } = pair();
    const load = manualLoader();
    const calls = [first.run('secret key', load)];
    await made.settleDown();
    calls.push(second.run('secret key', load), second.run('secret key', load));
    await made.settleDown();
    load.runs[0]?.end('secret value');
    await made.settleDown();
    await Promise.all(calls);
    const { led, followed } = roles();
    expect(followed.map(({ attributes }) => [attributes['collapse.scope'], attributes['collapse.outcome']])).toEqual([
      ['remote', 'remote'],
      ['local', 'local'],
    ]);
    for (const follower of followed) {
      expect(follower.attributes['collapse.leader_flight_id']).toBe(led?.attributes['collapse.flight_id']);
      expect(follower.links.map((link) => link.context)).toEqual([remoteNameOf(led)]);
      expect(follower.parentSpanContext).toBeUndefined();
    }
    expect(JSON.stringify(exporter.getFinishedSpans().map(facts))).not.toContain('secret');
  });

  it('links who gets the error of a load on another replica to the span of that load', async () => {
    const { made, first, second } = pair();
    const load = manualLoader();
    const calls = [first.run('k', load)];
    await made.settleDown();
    calls.push(second.run('k', load));
    await made.settleDown();
    load.runs[0]?.fail(new Error('secret'));
    const settled = Promise.allSettled(calls);
    await made.settleDown();
    await settled;
    const { led, followed } = roles();
    expect(followed[0]?.attributes).toMatchObject({ 'collapse.scope': 'remote', 'collapse.outcome': 'error' });
    expect(followed[0]?.links.map((link) => link.context)).toEqual([remoteNameOf(led)]);
  });

  it('links to the load of a batch on another replica, and of this one', async () => {
    const { made, first, second } = pair();
    const batch = manualLoader<ReadonlyMap<number, string>>();
    const calls: Promise<unknown>[] = [first.runMany([1, 2], () => batch({} as LoadContext), { key: (id) => ['seat', id] })];
    await made.settleDown();
    calls.push(
      first.run(['seat', 2], () => 'not run'),
      second.run(['seat', 2], () => 'not run'),
    );
    await made.settleDown();
    batch.runs[0]?.end(new Map([1, 2].map((id) => [id, 'free'])));
    await made.settleDown();
    await Promise.all(calls);
    const { led, followed } = roles();
    expect(led?.attributes['collapse.outcome']).toBe('many');
    expect(followed.map(({ links }) => links.map((link) => link.context.spanId))).toEqual(Array(2).fill([led?.spanContext().spanId]));
  });

  it('adds no link where the leader is not traced, or where what came is no traceparent', async () => {
    for (const trace of [undefined, 'secret', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
      const { made, second } = pair();
      const untraced = made.replicas[0]?.run('k', (loadContext) => {
        if (trace !== undefined) loadContext.inSpan(trace);
        return load(loadContext);
      });
      const load = manualLoader();
      await made.settleDown();
      const call = second.run('k', load);
      await made.settleDown();
      load.runs[0]?.end('v');
      await made.settleDown();
      await Promise.all([untraced, call]);
      expect(roles().followed.map(({ links }) => links)).toEqual([[]]);
      await made.closeAll();
      exporter.reset();
    }
  });

  it('names no span to other replicas while no SDK is there to record one', async () => {
    const made = (current = cluster(2));
    const received: unknown[] = [];
    made.replicas[1]?.listen((event) => event.type === 'received' && received.push(event.trace));
    const load = manualLoader();
    const calls = [made.replicas[0] && traceCollapser(made.replicas[0]).run('k', load)];
    await made.settleDown();
    calls.push(made.replicas[1]?.run('k', load));
    await made.settleDown();
    load.runs[0]?.end('v');
    await made.settleDown();
    await Promise.all(calls);
    expect(received).toEqual([undefined]);
  });

  it('says what kind of error a call ended with, never what it said, and links who shared it to the leader', async () => {
    const collapser = traced();
    const load = manualLoader();
    const calls = [1, 2].map(() => collapser.run('k', load));
    const settled = Promise.allSettled(calls);
    load.runs[0]?.fail(Object.assign(new Error('secret'), { code: 'ECONNREFUSED' }));
    await settled;
    const [first, second] = exporter.getFinishedSpans();
    expect(first?.status).toEqual({ code: SpanStatusCode.ERROR });
    expect(first?.attributes).toMatchObject({ 'collapse.role': 'leader', 'collapse.outcome': 'error', 'error.type': 'ECONNREFUSED' });
    expect(second?.attributes).toMatchObject({ 'collapse.role': 'follower', 'collapse.outcome': 'error' });
    expect(second?.links[0]?.context.spanId).toBe(first?.spanContext().spanId);
    expect(JSON.stringify(exporter.getFinishedSpans().map(facts))).not.toContain('secret');
  });

  it('tells who gave up from who was aborted', async () => {
    const collapser = traced();
    const load = manualLoader();
    const leaves = new AbortController();
    const calls = [collapser.run('k', load, { timeoutMs: 1 }), collapser.run('k', load, { signal: leaves.signal })];
    const settled = Promise.allSettled(calls);
    leaves.abort();
    await settled;
    const spans = exporter.getFinishedSpans();
    expect(spans.map(({ attributes, status }) => [attributes['collapse.outcome'], status.code])).toEqual([
      ['aborted', SpanStatusCode.UNSET],
      ['timeout', SpanStatusCode.ERROR],
    ]);
  });

  it('calls what was not collapsed solo', async () => {
    const collapser = traced({ limits: { keyBytesMax: 4 } });
    await collapser.run('a long key', () => 1);
    expect(exporter.getFinishedSpans()[0]?.attributes).toMatchObject({ 'collapse.role': 'solo', 'collapse.outcome': 'bypass' });
  });

  it('spans wrap, once, runMany, and each load of warm and watch', async () => {
    const collapser = traced();
    const spanInside = () => trace.getActiveSpan()?.spanContext().spanId;
    const inside: (string | undefined)[] = [];
    const note = async () => void inside.push(spanInside());
    await collapser.wrap(note, { key: () => 'wrapped' })();
    await collapser.once('effect', note, { ttlMs: 1_000 });
    await collapser.runMany([1, 2], async (keys) => (await note(), new Map(keys.map((key) => [key, key]))), { key: (id) => ['many', id] });
    await collapser.warm([{ key: 'warm', loader: note }]);
    for await (const value of collapser.watch('watched', note)) {
      expect(value).toBeUndefined();
      break;
    }
    const spans = exporter.getFinishedSpans();
    expect(inside).toEqual(spans.map((span) => span.spanContext().spanId));
    expect(spans.map(({ attributes }) => attributes['collapse.outcome'])).toEqual(['leader', 'ran', 'many', 'leader', 'leader']);
    await collapser.close();
  });

  it('is a collapser in all other ways: same results, same errors, same name', async () => {
    const collapser = traced();
    expect(collapser.name).toBe('api');
    expect(await collapser.flight('k', () => 1)).toMatchObject({ value: 1, source: 'leader' });
    expect(collapser.stats().totals.leader).toBe(1);
    await collapser.invalidate('k');
    await expect(collapser.run('k', 1 as never)).rejects.toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_LOADER' }));
    await expect(collapser.warm(1 as never)).rejects.toThrow(TypeError);
    expect(() => collapser.wrap(1 as never, { key: () => 'k' })).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_LOADER' }));
    await collapser.close();
    await expect(collapser.run('k', () => 1)).rejects.toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_CLOSED' }));
  });

  it('uses the global provider when none is given, and refuses what is none', async () => {
    trace.setGlobalTracerProvider(tracerProvider);
    await traceCollapser(createCollapser()).run('k', () => 1);
    trace.disable();
    expect(exporter.getFinishedSpans()).toHaveLength(1);
    const code = expect.objectContaining({ code: 'ERR_ONEFLIGHT_OPTION' });
    expect(() => traceCollapser(createCollapser(), { tracerProvider: {} as never })).toThrow(code);
    expect(() => traceCollapser({} as never)).toThrow(code);
  });

  it('links every follower, also when thousands of flights end in the same moment', async () => {
    const collapser = traced();
    const load = manualLoader<number>();
    const calls = Array.from({ length: 3_000 }, (_, index) => [
      collapser.run(`key ${index}`, load),
      collapser.run(`key ${index}`, load),
    ]).flat();
    for (const run of load.runs) run.end(1);
    await Promise.all(calls);
    const followers = exporter.getFinishedSpans().filter((span) => span.attributes['collapse.role'] === 'follower');
    expect(followers).toHaveLength(3_000);
    expect(followers.filter((span) => span.links.length === 1)).toHaveLength(3_000);
  });
});

/** Two replicas over one memory hub, both traced. */
function pair() {
  const made = (current = cluster(2));
  const [first, second] = made.replicas.map((replica) => traceCollapser(replica, { tracerProvider }));
  if (first === undefined || second === undefined) throw new Error('expected two replicas');
  return { made, first, second };
}

function roles(): { readonly led: ReadableSpan | undefined; readonly followed: readonly ReadableSpan[] } {
  const spans = exporter.getFinishedSpans();
  const of = (role: string) => spans.filter((span) => span.attributes['collapse.role'] === role);
  return { led: of('leader')[0], followed: of('follower') };
}

/** A span as another process names it. */
function remoteNameOf(span: ReadableSpan | undefined): unknown {
  const { traceId, spanId, traceFlags } = span?.spanContext() ?? {};
  return { traceId, spanId, traceFlags, isRemote: true };
}

function facts({ name, attributes, events, status, links }: ReadableSpan): unknown {
  return { name, attributes, events, status, links };
}
