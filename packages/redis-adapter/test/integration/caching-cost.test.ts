import { createCollapser, type Collapser, type RunOptions } from '@oneflight/core';
import { startRedis, startRespProxy, type RespProxy, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';

/*
 * What each kind of call costs Redis: commands, counted by a proxy that knows them, and bytes, as the server counts them.
 * It prints the table of docs/caching.md:
 *   npx vitest run --project integration packages/redis-adapter/test/integration/caching-cost.test.ts
 */
const TIMES = 100;
const PAYLOAD = 'x'.repeat(1_024);
const LONG = { ttlMs: 600_000 };
const COUNTED = new Set(['EVALSHA', 'EVAL', 'SET', 'GET', 'PUBLISH']);

let server: TestServer;
let link: RespProxy;
let probe: Redis;
let commands = 0;
let collapsers: Collapser[];
let keys = 0;

beforeAll(async () => {
  server = await startRedis();
  link = await startRespProxy({ target: server });
  probe = new Redis(server.url);
  collapsers = [false, false, { maxAgeMs: 600_000 }].map((near) =>
    createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(link.url), near, commandTimeoutMs: 2_000 }) }),
  );
  for (const collapser of collapsers) await collapser.run('warm', () => 1);
  link.rules = { command: ({ name }) => (COUNTED.has(name) && commands++, 'pass') };
});

afterAll(async () => {
  await Promise.all(collapsers.map((collapser) => collapser.close()));
  probe.disconnect();
  await link.stop();
  await server.stop();
});

it('a read of what is stored costs one command, a near hit none, a load two, and an invalidation of a tag one per key that carries it', async () => {
  const [a, b, near] = collapsers;
  const rows: Record<string, Cost> = {};
  const load = (collapser: Collapser | undefined, key: unknown, options: RunOptions<string> = LONG) =>
    collapser?.run(String(key), () => PAYLOAD, options);

  rows['load, nothing stored'] = await cost(() => load(a, `k${keys++}`, {}));
  rows['load, stored (a miss)'] = await cost(() => load(a, `k${keys++}`));
  rows['load, stored with 1 tag'] = await cost(() => load(a, `k${keys++}`, { ...LONG, tags: ['one'] }));
  rows['load, stored with 3 tags'] = await cost(() => load(a, `k${keys++}`, { ...LONG, tags: ['two', 'three', 'four'] }));
  rows['load, and a replica that follows'] = await cost(() => followed(a, b));
  await load(a, 'read');
  rows['cached read'] = await cost(() => load(b, 'read'));
  await load(near, 'read');
  rows['near hit'] = await cost(() => load(near, 'read'));
  rows['invalidate'] = await cost(() => a?.invalidate('read'));
  for (const count of [0, 1, 10, 300]) {
    for (let key = 0; key < count; key++) await load(a, `tagged ${count} ${key}`, { ...LONG, tags: [`of ${count}`] });
    rows[`invalidateTag of ${count} keys`] = await cost(() => a?.invalidateTag(`of ${count}`), 1);
  }
  console.log(table(rows));

  const counted = Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, row.commands]));
  expect(counted).toEqual({
    'load, nothing stored': 2,
    'load, stored (a miss)': 2,
    'load, stored with 1 tag': 4,
    'load, stored with 3 tags': 6,
    'load, and a replica that follows': 3,
    'cached read': 1,
    'near hit': 0,
    invalidate: 1,
    'invalidateTag of 0 keys': 3,
    'invalidateTag of 1 keys': 6,
    'invalidateTag of 10 keys': 15,
    'invalidateTag of 300 keys': 306,
  });
}, 60_000);

/** A load that a call on another replica follows: it ends once that one waits. */
async function followed(a: Collapser | undefined, b: Collapser | undefined): Promise<void> {
  const key = `k${keys++}`;
  let follows = (): void => {};
  const following = new Promise<void>((resolve) => {
    follows = resolve;
  });
  const stop = b?.listen(({ type }) => type === 'election' && follows());
  let begun = (): void => {};
  const loading = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const leader = a?.run(key, async () => {
    begun();
    await following;
    return PAYLOAD;
  });
  await loading;
  await Promise.all([leader, b?.run(key, () => 'never')]);
  stop?.();
}

interface Cost {
  readonly commands: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The cost of one, by doing it many times one after the other. */
async function cost(run: () => Promise<unknown> | undefined, times = TIMES): Promise<Cost> {
  await idle();
  const idleBytes = await between(async () => {});
  commands = 0;
  const bytes = await between(async () => {
    for (let time = 0; time < times; time++) await run();
    await idle();
  });
  return {
    commands: Math.round((commands / times) * 10) / 10,
    bytesIn: Math.max(0, Math.round((bytes.in - idleBytes.in) / times)),
    bytesOut: Math.max(0, Math.round((bytes.out - idleBytes.out) / times)),
  };
}

/** Settles go on after the caller has its answer. */
async function idle(): Promise<void> {
  await waitFor(() => collapsers.every((collapser) => collapser.stats().flights === 0));
  let before = -1;
  await waitFor(
    () => {
      const isIdle = commands === before;
      before = commands;
      return isIdle;
    },
    { everyMs: 20 },
  );
}

async function between(act: () => Promise<void>): Promise<{ in: number; out: number }> {
  const before = await netBytes();
  await act();
  const after = await netBytes();
  return { in: after.in - before.in, out: after.out - before.out };
}

async function netBytes(): Promise<{ in: number; out: number }> {
  const info = await probe.info('stats');
  const of = (name: string): number => Number(new RegExp(`total_net_${name}_bytes:(\\d+)`).exec(info)?.[1]);
  return { in: of('input'), out: of('output') };
}

function table(rows: Readonly<Record<string, Cost>>): string {
  const lines = Object.entries(rows).map(([name, row]) => `| ${name} | ${row.commands} | ${row.bytesIn} | ${row.bytesOut} |`);
  return ['| what | commands | bytes in | bytes out |', '| --- | ---: | ---: | ---: |', ...lines].join('\n');
}
