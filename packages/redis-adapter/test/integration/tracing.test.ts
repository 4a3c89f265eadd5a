import { randomUUID } from 'node:crypto';
import { startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BurstRequest, type FleetConfig, ReplicaProcess, type SpanReport } from '../support/fleet.js';

/** Two traced processes on a real Redis, and the spans that each of them exports. */
let server: TestServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const SECRET_OPTIONS = { secret: 'a secret of sixteen', compress: { bytesMin: 0 } };

describe('the spans of two processes', () => {
  it.each([
    ['in a message', {}, 'small'],
    ['fetched, because it is too large for a message', {}, 'x'.repeat(20_000)],
    ['signed and compressed', SECRET_OPTIONS, 'y'.repeat(500)],
  ])('are linked: a follower names the span that led in the other process, where the outcome came %s', async (_, options, value) => {
    const spans = await spansOf({ options }, { calls: 2, value }, value);
    const [led, ...others] = spans.filter(({ attributes }) => attributes['collapse.role'] === 'leader');
    const followed = spans.filter(({ attributes }) => attributes['collapse.role'] === 'follower');
    expect(others).toEqual([]);
    expect(followed.map(({ attributes }) => attributes['collapse.outcome']).toSorted()).toEqual(['local', 'local', 'remote']);
    for (const { links, traceId, parentSpanContext } of followed) {
      expect(links.map(({ context }) => [context.traceId, context.spanId])).toEqual([[led?.traceId, led?.spanId]]);
      expect(traceId).not.toBe(led?.traceId);
      expect(parentSpanContext).toBeUndefined();
    }
    const acrossProcesses = followed.filter(({ links }) => links[0]?.context.isRemote === true);
    expect(acrossProcesses).toHaveLength(2);
    for (const { attributes } of acrossProcesses) {
      expect(attributes['collapse.leader_flight_id']).toBe(led?.attributes['collapse.flight_id']);
    }
  });

  it('are linked where the load failed, and say nothing of what it said', async () => {
    const spans = await spansOf({}, { calls: 1, fails: 'no such seat' }, 'no such seat');
    const [led, followed] = spans.toSorted(
      (a, b) => Number(b.attributes['collapse.role'] === 'leader') - Number(a.attributes['collapse.role'] === 'leader'),
    );
    expect(followed?.attributes).toMatchObject({ 'collapse.role': 'follower', 'collapse.outcome': 'error', 'error.type': 'LOAD_FAILED' });
    expect(followed?.links.map(({ context }) => [context.traceId, context.spanId])).toEqual([[led?.traceId, led?.spanId]]);
  });

  it('need both processes to trace: without the leader there is no link, and nothing else changes', async () => {
    const spans = await spansOf({}, { calls: 1, value: 'seats' }, 'seats', [false, true]);
    expect(spans.map(({ attributes, links }) => [attributes['collapse.role'], links])).toEqual([['follower', []]]);
  });
});

/** Spans of one flight of two processes, of which the first leads. Nothing in them holds `secret`, nor the key. */
async function spansOf(
  config: Omit<FleetConfig, 'url'>,
  request: Pick<BurstRequest, 'calls' | 'value' | 'fails'>,
  secret: string,
  isTraced: readonly [leader: boolean, follower: boolean] = [true, true],
): Promise<SpanReport[]> {
  const key = `key-${randomUUID()}`;
  const barrier = { key: `barrier:${key}`, count: 2 };
  const processes = isTraced.map((one) => new ReplicaProcess({ url: server.url, ...config, isTraced: one }));
  try {
    const [leader, follower] = processes;
    await Promise.all(processes.map(({ ready }) => ready));
    const led = leader?.burst({ key, loadMs: 0, barrier, ...request });
    await waitFor(async () => (await redis.get(barrier.key)) === '1', { what: 'the first process to lead' });
    await Promise.all([led, follower?.burst({ key, loadMs: 0, barrier, ...request })]);
    const spans = (await Promise.all(processes.map((replica) => replica.spans()))).flat();
    expect(await redis.get(`loads:${key}`)).toBe('1');
    for (const word of [secret, key]) expect(JSON.stringify(spans)).not.toContain(word);
    expect(await Promise.all(processes.map((replica) => replica.close()))).toEqual([0, 0]);
    return spans;
  } finally {
    for (const replica of processes) replica.kill();
  }
}
