import { createCollapser, type Collapser } from '@oneflight/core';
import { startCluster, startRedis } from '@oneflight/testkit';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { quorumCoordinator, redisCoordinator } from '../../src/index.js';

/* Invalidation by tag on real servers. On Cluster the tags and the keys that carry them are spread over three masters. */
const LONG = { ttlMs: 600_000 };
const PATIENT = { commandTimeoutMs: 2_000 };

interface Seats {
  readonly tag: string;
  readonly version: number;
}

let close: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(close.map((end) => end()));
  close = [];
});

describe.each([
  ['one server', oneServer],
  ['a cluster', cluster],
])('invalidateTag on %s', (_, start) => {
  let servers: Awaited<ReturnType<typeof start>>;
  let prefixes = 0;

  beforeAll(async () => {
    servers = await start();
  });

  afterAll(() => servers.stop());

  function join(count: number): Collapser[] {
    const prefix = `tags-${(prefixes += 1)}`;
    return Array.from({ length: count }, () => {
      const collapser = createCollapser({ coordinator: redisCoordinator({ redis: servers.connect, prefix, ...PATIENT }) });
      close.push(() => collapser.close());
      return collapser;
    });
  }

  it('removes 300 values that carry it, and the 300 that do not stay', async () => {
    const [a, b] = join(2);
    const keys = Array.from({ length: 300 }, (__, key) => key);
    const get = (collapser: Collapser | undefined, tag: string, value: string) =>
      Promise.all(keys.map(async (key) => collapser?.run([tag, key], () => value, { ...LONG, tags: [tag, `key ${key}`] })));
    await Promise.all([get(a, 'red', 'old'), get(a, 'blue', 'old')]);
    await b?.invalidateTag('red');
    const [red, blue] = await Promise.all([get(b, 'red', 'new'), get(b, 'blue', 'new')]);
    expect([new Set(red), new Set(blue)]).toEqual([new Set(['new']), new Set(['old'])]);
  });

  it('leaves nothing without an expiry, and no note of a tag that ended with its values', async () => {
    const [a] = join(1);
    await a?.run('k', () => 1, { ttlMs: 50, tags: ['short'] });
    await a?.invalidateTag('short');
    await a?.run('k', () => 1, { ttlMs: 50, tags: ['short'] });
    for (const { key, leftMs, type } of await servers.keys(`tags-${prefixes}:*`)) {
      expect(leftMs, `expiry of ${key}, -1 for none`).not.toBe(-1);
      if (type === 'zset') expect(leftMs).toBeLessThan(62_000);
    }
  });

  it('never lets a call made afterwards have what was begun before, whichever replica it is made on and whenever the load ends', async () => {
    const replicas = join(3);
    const options = { ...LONG, tags: ({ tag }: Seats) => [tag] };
    let version = 0;
    const broken: string[] = [];
    const load = async (): Promise<Seats> => {
      const read = version;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 8));
      return { tag: 'shop', version: read };
    };
    const untilMs = performance.now() + 2_000;
    await Promise.all(
      replicas.map(async (replica, at) => {
        while (performance.now() < untilMs) {
          const key = ['k', Math.floor(Math.random() * 4)];
          if (Math.random() < 0.7) {
            void replica.run(key, load, options);
            await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
            continue;
          }
          version += 1;
          const committed = version;
          await replica.invalidateTag('shop');
          const got = await replica.run(key, load, options);
          if (got.version < committed) broken.push(`replica ${at} got version ${got.version} after ${committed}`);
        }
      }),
    );
    expect(version).toBeGreaterThan(20);
    expect(broken).toEqual([]);
  });
});

it('invalidateTag over a quorum says that nothing there carries a tag', async () => {
  const server = await startRedis();
  const connect = (): Redis => new Redis(server.url);
  const collapser = createCollapser({ coordinator: quorumCoordinator({ nodes: [() => connect(), () => connect(), () => connect()] }) });
  await expect(collapser.invalidateTag('shop')).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'refused' });
  await collapser.close();
  await server.stop();
});

async function oneServer() {
  const server = await startRedis();
  return { connect: () => new Redis(server.url), keys: (pattern: string) => keysOf([server.url], pattern), stop: () => server.stop() };
}

async function cluster() {
  const servers = await startCluster();
  const nodes = servers.nodes.map(({ host, port }) => ({ host, port }));
  return {
    connect: () => new Cluster(nodes),
    keys: (pattern: string) =>
      keysOf(
        nodes.map(({ host, port }) => `redis://${host}:${port}`),
        pattern,
      ),
    stop: () => servers.stop(),
  };
}

async function keysOf(urls: readonly string[], pattern: string): Promise<{ key: string; leftMs: number; type: string }[]> {
  const found: { key: string; leftMs: number; type: string }[] = [];
  for (const url of urls) {
    const client = new Redis(url);
    if (!(await client.info('replication')).includes('role:slave')) {
      for (const key of await client.keys(pattern)) found.push({ key, leftMs: await client.pttl(key), type: await client.type(key) });
    }
    client.disconnect();
  }
  return found;
}
