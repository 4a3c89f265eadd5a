import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFleet, type CallReport, type ReplicaProcess } from '../support/fleet.js';

/* What is stored on request, on 8 real processes and a real Redis. Loads count themselves at another Redis. */
let server: TestServer;
let controlServer: TestServer;
let control: Redis;
let probe: Redis;

beforeAll(async () => {
  [server, controlServer] = await Promise.all([startRedis(), startRedis()]);
  control = new Redis(controlServer.url);
  probe = new Redis(server.url);
});

afterAll(async () => {
  control.disconnect();
  probe.disconnect();
  await Promise.all([server.stop(), controlServer.stop()]);
});

const LONG = 600_000;

describe('8 processes', () => {
  let fleet: Awaited<ReturnType<typeof startFleet>>;

  beforeAll(async () => {
    fleet = await startFleet(8, { url: server.url, controlUrl: controlServer.url });
  });

  afterAll(() => fleet.stop());

  it('read a stored value instead of loading it, one round trip each', async () => {
    await everyone(fleet.replicas, { key: 'fresh', runOptions: { ttlMs: LONG } });
    const before = await scriptsRun();
    const answers = await everyone(fleet.replicas, { key: 'fresh', runOptions: { ttlMs: LONG } });
    expect(answers.map(({ source, load }) => `${source} ${load?.number}`)).toEqual(Array(8).fill('cache 1'));
    expect((await scriptsRun()) - before).toBe(8);
    expect(await loads('fresh')).toBe(1);
  });

  it('are answered at once by a stale value while one of them refreshes it', async () => {
    const runOptions = { ttlMs: 1, staleWhileRevalidateMs: LONG };
    await everyone(fleet.replicas.slice(0, 1), { key: 'stale', runOptions });
    await new Promise((resolve) => setTimeout(resolve, 20));
    const answers = await everyone(fleet.replicas, { key: 'stale', runOptions, loadMs: 500 });
    expect(answers.map(({ source, load }) => `${source} ${load?.number}`)).toEqual(Array(8).fill('stale 1'));
    await until(async () => (await loads('stale')) === 2);
    await until(async () => (await probe.hget((await valueKeys())[0] ?? '', 't')) !== null);
    expect(await loads('stale')).toBe(2);
  });

  it('keep a stale value when its refresh fails, and serve it instead of the error', async () => {
    const runOptions = { ttlMs: 1, staleIfErrorMs: LONG };
    await everyone(fleet.replicas.slice(0, 1), { key: 'failing', runOptions });
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (let burst = 0; burst < 3; burst++) {
      const answers = await everyone(fleet.replicas, { key: 'failing', runOptions, fails: 'database away', loadMs: 50 });
      expect(answers.map(({ error, load }) => error?.message ?? load?.number)).toEqual(Array(8).fill(1));
    }
  });

  it('find nothing stored after an invalidation by one of them', async () => {
    await everyone(fleet.replicas, { key: 'gone', runOptions: { ttlMs: LONG } });
    await fleet.replicas[3]?.invalidate('gone');
    const answers = await everyone(fleet.replicas, { key: 'gone', runOptions: { ttlMs: LONG }, loadMs: 20 });
    expect(answers.every(({ load }) => (load?.number ?? 0) >= 2)).toBe(true);
  });

  it('leave nothing stored longer than a caller may accept it', async () => {
    await everyone(fleet.replicas, { key: 'short', runOptions: { lingerMs: 100 } });
    for (const key of await probe.keys('*')) expect(await probe.pttl(key), `expiry of ${key}, -1 for none`).not.toBe(-1);
  });
});

async function everyone(
  replicas: readonly ReplicaProcess[],
  request: { key: string; runOptions: object; loadMs?: number; fails?: string },
): Promise<CallReport[]> {
  return (await Promise.all(replicas.map((replica) => replica.burst({ calls: 1, loadMs: 1, ...request })))).flat();
}

async function loads(key: string): Promise<number> {
  return Number(await control.get(`loads:${key}`));
}

async function valueKeys(): Promise<string[]> {
  return (await probe.keys('*')).filter((key) => key.endsWith(':v'));
}

async function scriptsRun(): Promise<number> {
  const info = await probe.info('commandstats');
  return ['evalsha', 'eval'].reduce((sum, name) => sum + Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(info)?.[1] ?? 0), 0);
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 10));
}
