import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { type IncomingMessage, request, type RequestOptions } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../../dist/demo/main.js', import.meta.url));
const mark = `ONEFLIGHT_TEST_MARK=${randomUUID()}`;

let temporary: string;

beforeEach(async () => {
  if (!existsSync(main)) throw new Error('the demo is not built: run `npx tsc -b` first');
  temporary = await mkdtemp(join(tmpdir(), 'oneflight-demo-test-'));
  await chmod(temporary, 0o755); // run by root, PostgreSQL is another user
});

afterEach(() => rm(temporary, { recursive: true, force: true }));

describe('the demo', () => {
  it('queries once per key with collapsing and once per request without, and leaves nothing behind', async () => {
    const { code, stdout } = await ended(demo('--once', '--json', '--requests', '200', '--keys', '2', '--busy-ms', '1000'));
    expect(code).toBe(0);
    const result: unknown = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
    const latencies = { p50Ms: expect.any(Number), p95Ms: expect.any(Number) };
    expect(result).toEqual({
      replicas: 4,
      requests: 200,
      keys: 2,
      without: { databaseQueries: 200, ...latencies, failures: 0 },
      with: { databaseQueries: 2, ...latencies, failures: 0 },
    });
    await expectNothingLeft();
  });

  it.each([
    ['SIGTERM', /starting PostgreSQL/],
    ['SIGKILL', /starting PostgreSQL/],
    ['SIGKILL', /starting Redis/],
    ['SIGTERM', /starting 4 replicas/],
    ['SIGINT', /starting 4 replicas/],
    ['SIGKILL', /starting 4 replicas/],
  ] as const)('leaves nothing behind when %s ends it while it says %s', async (signal, moment) => {
    const child = demo('--once', '--requests', '10');
    const end = ended(child);
    await said(child, moment);
    child.kill(signal);
    const { code } = await end;
    expect(code).not.toBe(0);
    await expectNothingLeft();
  });

  it('serves on, costs no caller an answer when a replica is killed in mid-burst, and ends on Ctrl-C', async () => {
    const child = demo('--requests', '100', '--busy-ms', '1000');
    const end = ended(child);
    const [url] = await said(child, /http:\/\/127\.0\.0\.1:\d+\//);
    await order(`${url}demo/burst`);
    await order(`${url}demo/kill`);
    await expect.poll(() => lastBurst(url), { timeout: 30_000 }).not.toBeNull();
    const burst = await lastBurst(url);
    expect(burst).toMatchObject({ failures: 0 });
    expect([1, 2]).toContain(burst?.databaseQueries); // 2 when the leader was the one, and its successor took over
    child.kill('SIGINT');
    expect((await end).code).toBe(0);
    await expectNothingLeft();
  });

  it('shows its page to loopback names only, and takes orders from no page but its own', async () => {
    const child = demo('--requests', '4', '--replicas', '1', '--busy-ms', '0');
    const [url] = await said(child, /http:\/\/127\.0\.0\.1:\d+\//);
    const own = new URL(url).origin;
    const statuses = {
      'its page': await statusOf(url),
      'a name that an attacker made to point here': await statusOf(url, { headers: { host: 'attacker.example' } }),
      'no origin': await statusOf(`${url}demo/kill`, { method: 'POST' }),
      'another origin': await statusOf(`${url}demo/kill`, { method: 'POST', headers: { origin: 'http://attacker.example' } }),
      'another port': await statusOf(`${url}demo/kill`, { method: 'POST', headers: { origin: 'http://127.0.0.1:1' } }),
      'an order by GET': await statusOf(`${url}demo/kill`),
      'an unknown replica': await statusOf(`${url}demo/kill?replica=2`, { method: 'POST', headers: { origin: own } }),
      'an unknown mode': await statusOf(`${url}demo/collapse?mode=sometimes`, { method: 'POST', headers: { origin: own } }),
      'a file that is not the page’s': await statusOf(`${url}../package.json`),
      'its own order': await statusOf(`${url}demo/visitors?on=false`, { method: 'POST', headers: { origin: own } }),
    };
    expect(Object.values(statuses), JSON.stringify(statuses)).toEqual([200, 403, 403, 403, 403, 404, 409, 400, 404, 200]);
    child.kill('SIGINT');
    await expectNothingLeft();
  });

  it('leaves nothing behind when a server does not start', async () => {
    const { code, stderr } = await ended(demo('--once', { REDIS_SERVER: '/nowhere/redis-server' }));
    expect(code).toBe(1);
    expect(stderr).toContain('REDIS_SERVER');
    await expectNothingLeft();
  });

  it.each([
    ['an option that does not exist', ['--keyz', '2'], '--keyz'],
    ['a number that is none', ['--requests', 'many'], '--requests many'],
    ['a number out of range', ['--replicas', '0'], '--replicas 0'],
    ['more keys than requests', ['--requests', '2', '--keys', '3'], '--keys 3'],
  ])('refuses %s with exit code 2 and a message that names it', async (_what, args, named) => {
    const { code, stdout, stderr } = await ended(demo(...args));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr.split('\n')[0]).toContain(named);
  });

  it('explains itself with --help', async () => {
    const { code, stdout } = await ended(demo('--help'));
    expect(code).toBe(0);
    for (const option of ['--once', '--json', '--replicas', '--requests', '--keys', '--port']) expect(stdout).toContain(option);
  });
});

type Demo = ChildProcessWithoutNullStreams;

function demo(...args: (string | Record<string, string>)[]): Demo {
  const options = args.filter((arg) => typeof arg === 'string');
  const overrides = Object.assign({}, ...args.filter((arg) => typeof arg !== 'string')) as Record<string, string>;
  const [name = '', value = ''] = mark.split('=');
  const env = { ...process.env, TMPDIR: temporary, [name]: value, DATABASE_URL: '', REDIS_URL: '', ...overrides };
  return spawn(process.execPath, [main, ...options], { env });
}

async function ended(child: Demo): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { code, stdout, stderr };
}

function said(child: Demo, text: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      const found = text.exec(chunk.toString());
      if (found !== null) resolve(found);
    });
    child.once('exit', () => reject(new Error(`the demo ended before it said ${text}`)));
  });
}

async function order(url: string): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers: { origin: new URL(url).origin } });
  expect(response.ok).toBe(true);
}

/** By node:http, because fetch() does not let anybody choose the Host header. */
async function statusOf(url: string, options: RequestOptions = {}): Promise<number | undefined> {
  const sent = request(url, options).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

async function lastBurst(url: string | undefined): Promise<{ databaseQueries: number; failures: number } | null> {
  const response = await fetch(`${url}demo/status`);
  const status = (await response.json()) as { lastBurst: { databaseQueries: number; failures: number } | null };
  return status.lastBurst;
}

/** A process that was killed cannot wait for its children, so they are given a moment; whoever ended in order has waited. */
async function expectNothingLeft(): Promise<void> {
  await expect.poll(processesLeft, { timeout: 20_000 }).toEqual([]);
  await expect.poll(() => readdir(temporary), { timeout: 20_000 }).toEqual([]);
}

/** Command lines of processes of this test. Only Linux shows them; elsewhere the directory alone is checked. */
async function processesLeft(): Promise<string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(commandIfOurs));
  return found.filter((command) => command !== undefined);
}

/** Redis writes its title over its environment, but it works in our directory; the others have inherited the mark. */
async function commandIfOurs(pid: string): Promise<string | undefined> {
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  const directory = await readlink(`/proc/${pid}/cwd`).catch(() => '');
  if (!environment.split('\0').includes(mark) && !directory.startsWith(temporary)) return undefined;
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
}
