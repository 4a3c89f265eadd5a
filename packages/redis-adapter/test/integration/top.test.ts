import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { createCollapser } from '@oneflight/core';
import { startCluster, startRedis, type TestServer } from '@oneflight/testkit';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookAt } from '../../src/cli/look.js';
import { type Report, reportOf } from '../../src/cli/report.js';
import { redisCoordinator } from '../../src/index.js';
import { startFleet } from '../support/fleet.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** The read-only user as users copy it. */
const RECIPE =
  /ACL SETUSER inspector on >password([^`]+)```/.exec(
    readFileSync(new URL('../../../../docs/operations.md', import.meta.url), 'utf8'),
  )?.[1] ?? '';

let server: TestServer;
let admin: Redis;

beforeAll(async () => {
  if (!existsSync(main)) throw new Error('the command is not built: run `npx tsc -b` first');
  server = await startRedis();
  admin = new Redis(server.url);
});

afterAll(async () => {
  admin?.disconnect();
  await server?.stop();
});

describe('oneflight top', () => {
  it('shows the flights of real processes: who leads, how many follow, and for how long', async () => {
    const prefix = 'top-shows';
    const held = await holdFlights(prefix, ['a', 'b']);
    try {
      const report = await look(prefix);
      expect(report.flights).toHaveLength(2);
      for (const flight of report.flights) {
        expect(flight).toMatchObject({ key: expect.stringMatching(/^[\w-]{43}$/), isLeaderThere: true, failedAttempts: 0 });
        expect(new Set([flight.leader, ...flight.followers]).size).toBe(3);
        expect(flight.ageMs).toBeGreaterThan(0);
        expect(flight.leaseLeftMs).toBeLessThanOrEqual(3_000);
      }
      expect(report.replicas).toHaveLength(3);
      expect(report.keys).toMatchObject({ leases: 2, states: 2, waiters: 2 });
      expect(report.perSecond).toEqual({ started: 0, settled: 0 });
      const { stdout } = await run('top', '--url', server.url, '--prefix', prefix, '--once', '--interval', '100');
      expect(stdout).toContain('2 flights in progress   3 replicas in them');
      for (const { key } of report.flights) expect(stdout).toContain(key.slice(0, 16));
    } finally {
      await held.release();
    }
    expect((await look(prefix)).flights).toEqual([]);
  });

  it('tells a leader whose process was killed from one that works', async () => {
    const prefix = 'top-killed';
    const held = await holdFlights(prefix, ['a']);
    try {
      const leading = await held.leaderOf('a');
      for (const replica of held.replicas) if (replica !== leading) replica.kill('SIGSTOP'); // or one of them would take over
      leading?.kill('SIGKILL');
      await expect
        .poll(async () => (await look(prefix)).flights.map(({ isLeaderThere }) => isLeaderThere), { timeout: 20_000 })
        .not.toEqual([true]);
      const [flight] = (await look(prefix)).flights;
      expect([false, null]).toContain(flight?.isLeaderThere); // null once the lease has ended as well
      expect(flight?.followers).toHaveLength(2);
    } finally {
      await held.stop();
    }
  });

  it('counts the flights that began and ended between two looks', async () => {
    const prefix = 'top-rates';
    const collapser = createCollapser({ name: prefix, coordinator: redisCoordinator({ redis: () => new Redis(server.url), prefix }) });
    const before = { looks: [await lookAt(admin, prefix)], present: new Set<string>() };
    for (let key = 0; key < 10; key++) await collapser.run(['k', key], async () => key);
    await collapser.invalidate(['k', 3]); // issues a token too, and is no flight
    const now = await lookAt(admin, prefix);
    const seconds = (now.timeUs - (before.looks[0]?.timeUs ?? 0)) / 1e6;
    const { perSecond } = reportOf(prefix, { looks: [now], present: new Set() }, before);
    expect(Math.round((perSecond?.started ?? 0) * seconds)).toBe(9);
    expect(Math.round((perSecond?.settled ?? 0) * seconds)).toBe(9);
    await collapser.close();
  });

  it('only reads, in small steps, however full the server is', async () => {
    const prefix = 'top-reads';
    const held = await holdFlights(prefix, ['a']);
    await fill(2_000);
    const seen = await watchCommands();
    try {
      const report = await look(prefix);
      expect(report).toMatchObject({ isComplete: true, flights: [{ isLeaderThere: true }] });
      const commands = await seen.ofInspector();
      const names = [...new Set(commands.map(([name = '']) => name))];
      expect(names).toEqual(expect.arrayContaining(['scan', 'get', 'hkeys', 'hmget', 'pttl', 'pubsub', 'time', 'info']));
      for (const name of names) expect(await flagsOf(name), name).not.toContain('write');
      expect(names).not.toContain('keys');
      const scans = commands.filter(([name]) => name === 'scan');
      expect(scans.length).toBeGreaterThan(2 * 5);
      for (const scan of scans) expect(scan.slice(-2)).toEqual(['COUNT', '250']);
    } finally {
      seen.stop();
      await held.release();
    }
  });

  it('says when a server has more keys than one look goes through', async () => {
    await fill(2_000);
    expect(await lookAt(admin, 'top-limit', 500)).toMatchObject({ isComplete: false });
  });

  it('needs no more than the read-only user of docs/operations.md', async () => {
    const rules = RECIPE.trim()
      .split(/\s+/)
      .filter((rule) => rule !== '');
    expect(rules.length).toBeGreaterThan(8);
    await admin.call('ACL', 'SETUSER', 'inspector', 'on', '>password', ...rules);
    await admin.acl('LOG', 'RESET');
    const url = server.url.replace('redis://', 'redis://inspector:password@');
    const held = await holdFlights('oneflight', ['a']);
    const { code, stdout, stderr } = await run('top', '--url', url, '--once', '--interval', '100', '--json');
    await held.release();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ flights: [{ isLeaderThere: true }] });
    expect(await admin.acl('LOG')).toEqual([]);
    expect(stdout).not.toContain('password');
  });

  it.each([
    ['a password that is wrong', () => server.url.replace('redis://', 'redis://inspector:hunter2@'), /WRONGPASS/],
    ['a server that is not there', () => 'redis://shop:hunter2@127.0.0.1:1', /ECONNREFUSED/],
  ])('ends with exit code 1 and the reason for %s, and repeats no password', async (_what, url, reason) => {
    const { code, stdout, stderr } = await run('top', '--url', url(), '--once');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(reason);
    expect(stderr).not.toContain('hunter2');
  });

  it('looks again and again without a terminal, and ends in order on SIGINT', async () => {
    const child = spawn(process.execPath, [main, 'top', '--url', server.url, '--interval', '100', '--json']);
    let lines = '';
    child.stdout.on('data', (chunk: Buffer) => (lines += chunk.toString()));
    await expect.poll(() => lines.split('\n').length, { timeout: 20_000 }).toBeGreaterThan(3);
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
    const [first, second] = lines.split('\n').map((line) => (line === '' ? undefined : (JSON.parse(line) as Report)));
    expect([first?.perSecond, second?.perSecond]).toEqual([null, { started: 0, settled: 0 }]);
  });

  it('sees the flights of all masters of a Cluster', async () => {
    const cluster = await startCluster({ replicas: 0 });
    const [node] = cluster.nodes;
    const redis = () => new Cluster([node?.url ?? '']);
    const replicas = [1, 2].map(() => createCollapser({ name: 'cluster', coordinator: redisCoordinator({ redis }) }));
    let release = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    const keys = Array.from({ length: 12 }, (_, key) => key);
    const calls = keys.flatMap((key) => replicas.map((replica) => replica.run(['k', key], () => released)));
    try {
      const seen = async () =>
        JSON.parse((await run('top', '--url', node?.url ?? '', '--once', '--interval', '100', '--json')).stdout) as Report;
      await expect
        .poll(async () => (await seen()).flights.filter(({ followers }) => followers.length === 1).length, { timeout: 20_000 })
        .toBe(12);
      const report = await seen();
      expect(report.servers).toHaveLength(3);
      expect(report.flights.map(({ isLeaderThere }) => isLeaderThere)).toEqual(keys.map(() => true));
    } finally {
      release();
      await Promise.all(calls);
      await Promise.all(replicas.map((replica) => replica.close()));
      await cluster.stop();
    }
  });
});

/** Three processes that all wait for each of these keys, whose loads go on until `release`. */
async function holdFlights(prefix: string, keys: readonly string[]) {
  const fleet = await startFleet(3, { url: server.url, options: { prefix }, name: prefix });
  const barrierOf = (key: string) => `barrier:${prefix}:${key}`;
  const calls = keys.flatMap((key) =>
    fleet.replicas.map((replica) =>
      replica.burst({ key, calls: 5, loadMs: 0, barrier: { key: barrierOf(key), count: 4 } }).catch(() => []),
    ),
  );
  for (const key of keys) await expect.poll(() => admin.get(barrierOf(key)), { timeout: 20_000 }).toBe('3');
  return {
    replicas: fleet.replicas,
    /** The process that has said that it loads. */
    async leaderOf(key: string) {
      expect(await admin.get(`loads:${key}`)).toBe('1');
      const won = await Promise.all(fleet.replicas.map(async (replica) => ((await replica.events())['election:won'] ?? 0) > 0));
      return fleet.replicas[won.indexOf(true)];
    },
    async release() {
      for (const key of keys) await admin.incr(barrierOf(key));
      await Promise.all(calls);
      for (const key of keys) await admin.del(`loads:${key}`, `running:${key}`);
      await fleet.stop();
    },
    async stop() {
      await fleet.stop();
      for (const key of keys) await admin.del(`loads:${key}`, `running:${key}`);
    },
  };
}

async function look(prefix: string): Promise<Report> {
  const { code, stdout, stderr } = await run('top', '--url', server.url, '--prefix', prefix, '--once', '--interval', '100', '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as Report;
}

async function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child: ChildProcess = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** What the server is told by connections that call themselves oneflight-top. On a plain socket: ioredis stumbles over MONITOR. */
async function watchCommands() {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.write('MONITOR\r\n');
  await expect.poll(() => text, { timeout: 20_000 }).toContain('+OK\r\n');
  return {
    async ofInspector(): Promise<string[][]> {
      await admin.echo('all was seen');
      await expect.poll(() => text, { timeout: 20_000 }).toContain('all was seen');
      const commands = text.split('\r\n').flatMap((line) => {
        const [, source, rest = ''] = /^\+[\d.]+ \[\d+ (\S+)\] (.+)$/.exec(line) ?? [];
        return source === undefined ? [] : [{ source, args: Array.from(rest.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, arg = '']) => arg) }];
      });
      const sources = new Set(commands.filter(({ args }) => args.includes('oneflight-top')).map(({ source }) => source));
      return commands
        .filter(({ source }) => sources.has(source))
        .map(({ args: [name = '', ...others] }) => [name.toLowerCase(), ...others]);
    },
    stop: () => socket.destroy(),
  };
}

async function flagsOf(command: string): Promise<string[]> {
  const [info] = (await admin.call('COMMAND', 'INFO', command)) as [[string, number, string[]]];
  return info[2];
}

/** Keys that are somebody else's. */
async function fill(count: number): Promise<void> {
  await admin.mset(Object.fromEntries(Array.from({ length: count }, (_, index) => [`session:${index}`, 'x'])));
}
