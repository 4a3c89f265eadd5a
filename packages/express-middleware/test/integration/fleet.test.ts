import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ask } from '../support/shop.js';

const REPLICAS = 4;
let server: TestServer;
let control: Redis;
let replicas: { child: ChildProcess; port: number }[];

beforeAll(async () => {
  server = await startRedis();
  control = new Redis(server.url);
  replicas = await Promise.all(Array.from({ length: REPLICAS }, startReplica));
});

afterAll(async () => {
  const exits = replicas.map(async ({ child }) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  await Promise.all(exits);
  control.disconnect();
  await server.stop();
});

async function startReplica(): Promise<{ child: ChildProcess; port: number }> {
  const script = fileURLToPath(new URL('../support/replica-process.mjs', import.meta.url));
  const child = fork(script, [server.url], { execArgv: ['--unhandled-rejections=strict'] });
  const [port] = (await once(child, 'message')) as [number];
  return { child, port };
}

function askMany(count: number, path: string) {
  const asked = Array.from({ length: count }, (_, index) =>
    ask(replicas[index % REPLICAS]?.port ?? 0, { path, headers: { 'x-caller': `caller ${index}` } }),
  );
  return Promise.all(asked);
}

/** The caller whose request made an answer gets it first; it is stored a moment later. */
async function untilKept(get: () => ReturnType<typeof ask>): Promise<void> {
  await waitFor(async () => (await get()).headers['cache-status']?.includes('; hit'), { what: 'the answer to be kept' });
}

describe('four processes on a real Redis', () => {
  it('run the handler once for fifty equal requests, and answer all of them alike', async () => {
    const answers = await askMany(50, '/shared/50');
    expect(await control.get('runs:shared')).toBe('1');
    const [first] = answers;
    for (const [index, { status, body, headers }] of answers.entries()) {
      expect([status, body]).toEqual([200, first?.body]);
      expect(headers).toMatchObject({
        'x-made-by': 'the handler',
        etag: first?.headers.etag,
        'content-type': first?.headers['content-type'],
      });
      expect(headers['x-request-id']).toBe(`caller ${index}`);
    }
    const led = answers.filter(({ headers }) => headers['cache-status'] === 'oneflight; fwd=miss');
    expect(led).toHaveLength(1);
    expect(first?.body.length).toBeGreaterThan(20_000);
    console.log(`50 equal requests to ${REPLICAS} processes: the handler ran once, all got the same ${first?.body.length} characters`);
  });

  it('run ten handlers at once when their answers cannot be shared', async () => {
    const answers = await askMany(10, '/private/10');
    expect(answers.map(({ body }) => body)).toEqual(Array.from({ length: 10 }, (_, index) => `caller ${index}`));
    const seen = await control.lrange('seen:private', 0, -1);
    console.log(`10 requests for what cannot be shared: ${Math.max(...seen.map(Number))} handlers at the same time`);
    expect(seen.map(Number).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]); // nobody ended before all had begun
  });

  it('keep an answer for all of them, each variant by itself, and say where it came from', async () => {
    const path = '/kept/fresh?control=max-age%3D60';
    const get = (replica: number, language: string) =>
      ask(replicas[replica % REPLICAS]?.port ?? 0, { path, headers: { 'accept-language': language } });
    for (const language of ['de', 'fr']) {
      await get(0, language);
      await untilKept(() => get(1, language));
    }
    const answers = await Promise.all(Array.from({ length: 40 }, (_, index) => get(index, index % 2 === 0 ? 'de' : 'fr')));
    expect(new Set(answers.map(({ body }) => body))).toEqual(new Set(['de 1', 'fr 2']));
    for (const { headers } of answers) expect(headers['cache-status']).toMatch(/^oneflight; hit; ttl=\d+$/);
    expect(await control.get('runs:/kept/fresh')).toBe('2');
    for (const key of await control.keys('oneflight:*')) expect(await control.pttl(key), key).toBeGreaterThan(0);
  });

  it('remove what a change on one of them has made old, for every variant, before its caller is answered', async () => {
    const path = '/kept/changed?control=max-age%3D60';
    const get = (replica: number, language: string) =>
      ask(replicas[replica]?.port ?? 0, { path, headers: { 'accept-language': language } });
    const both = async (replica: number) => [(await get(replica, 'de')).body, (await get(replica, 'fr')).body];
    expect([await both(0), await both(1)]).toEqual([
      ['de 1', 'fr 2'],
      ['de 1', 'fr 2'],
    ]);
    expect((await ask(replicas[2]?.port ?? 0, { method: 'POST', path })).status).toBe(204);
    expect([await both(3), await both(0)]).toEqual([
      ['de 3', 'fr 4'],
      ['de 3', 'fr 4'],
    ]);
  });

  it('answer with a stale answer at once, while one of them makes a new one', async () => {
    const path = '/kept/stale?control=max-age%3D0%2C%20stale-while-revalidate%3D60';
    const get = (replica: number) => ask(replicas[replica % REPLICAS]?.port ?? 0, { path, headers: { 'accept-language': 'de' } });
    await get(0);
    await untilKept(() => get(1));
    const stale = await Promise.all(Array.from({ length: 12 }, (_, index) => get(index)));
    for (const { body, headers } of stale)
      expect([body, headers['cache-status']]).toEqual([expect.stringMatching(/^de \d+$/), expect.stringMatching(/hit; ttl=(0|-\d+)$/)]);
    await expect.poll(async () => Number(await control.get('runs:/kept/stale'))).toBeGreaterThanOrEqual(2);
  });

  it('answer everybody else when the process whose handler runs is killed', async () => {
    const asked = replicas.flatMap(({ port, child }) =>
      [0, 1].map(async () => ({ pid: child.pid, answer: await ask(port, { path: '/slow' }).catch(() => undefined) })),
    );
    await expect.poll(() => control.get('arrived:/slow')).toBe('8');
    await expect.poll(() => control.llen('slow:pids')).toBe(1);
    const killed = Number(await control.lindex('slow:pids', 0));
    process.kill(killed, 'SIGKILL');
    for (const { pid, answer } of await Promise.all(asked)) expect(answer?.body).toBe(pid === killed ? undefined : 'seats');
    expect(await control.llen('slow:pids')).toBe(2);
  });

  it('end by themselves once they are closed', async () => {
    const left = replicas.filter(({ child }) => child.signalCode === null);
    const exits = left.map(({ child }) => once(child, 'exit'));
    for (const { child } of left) child.send('close');
    for (const exit of exits) expect((await exit)[0]).toBe(0);
  });
});
