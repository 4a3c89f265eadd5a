import { startProxy, type TcpProxy, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CallReport, monotonicMs, type ReplicaProcess } from '../support/fleet.js';
import { ms, quantile, setStage, type Stage } from '../support/stage.js';

/*
 * Redis in trouble under traffic: three processes call all the time, before, during and after. No call fails, each is
 * told at once where it asked to be told, and once Redis is back a burst is one load again without a restart.
 */
const PROCESSES = 3;
const EVERY_MS = 20;
/** How many calls of each process have to end while the fault lasts. */
const CALLS_DURING = 60;
const LOAD_MS = 10;
/** Collapsing again after Redis is back: promised 2 s; twice that, because the machine may be busy. */
const RECOVERY_MS_MAX = 4_000;
/** After a connection was lost and the server is there: sooner than the heartbeat of 5 s could help. */
const HICCUP_MS_MAX = 2_000;
/** What a call may wait for a silent Redis: `commandTimeoutMs`, and room for a busy machine. */
const SILENCE_MS_MAX = 250 + 150;
/** What a call may wait in the worst case: a leader that could not settle holds the key until its lease ends. */
const LEASE_MS = 3_000;
/** After so many calls that waited in vain the circuit breaker is open. */
const VAIN_CALLS_MAX = 5;
const KNOWING_MS_MAX = 50;

let stage: Stage;
let admin: Redis;
let link: TcpProxy;

beforeEach(async () => {
  stage = await setStage();
  admin = new Redis(stage.server.url);
  admin.on('error', () => undefined);
  link = await startProxy({ target: stage.server });
});

afterEach(async () => {
  stage.server.resume();
  await stage.close();
  admin.disconnect();
  await link.stop();
});

/** A way for Redis to fail and to come back, as an operator would name it. */
interface Trouble {
  readonly name: string;
  readonly begin: () => unknown;
  readonly end: () => unknown;
  /** Calls that ask for it are told that Redis cannot be used. */
  readonly rejects: boolean;
  /** Redis does not answer at all, so that a call waits before it knows. */
  readonly silent?: boolean;
  readonly user?: string;
}

const OUTAGES: readonly Trouble[] = [
  { name: 'killed and restarted empty', begin: () => stage.server.kill9(), end: () => stage.server.restart(), rejects: true },
  { name: 'frozen', begin: () => stage.server.pause(), end: () => stage.server.resume(), rejects: true, silent: true },
  { name: 'out of reach, connections refused', begin: () => link.refuse(), end: () => link.resume(), rejects: true },
  { name: 'behind a black hole', begin: () => link.pause(), end: () => link.resume(), rejects: true, silent: true },
  {
    name: 'out of memory',
    begin: () => admin.config('SET', 'maxmemory', '1'),
    end: () => admin.config('SET', 'maxmemory', '0'),
    rejects: true,
  },
  { name: 'a read-only replica', begin: () => admin.replicaof('127.0.0.1', '1'), end: () => admin.replicaof('NO', 'ONE'), rejects: true },
  {
    name: 'asking for a password that we do not have',
    begin: async () => {
      await admin.config('SET', 'requirepass', 'changed');
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    },
    end: () => admin.config('SET', 'requirepass', ''),
    rejects: true,
  },
  {
    name: 'refusing our user the scripts',
    begin: () => admin.acl('SETUSER', 'app', '-@scripting'),
    end: () => admin.acl('SETUSER', 'app', '+@all'),
    rejects: true,
    user: 'app',
  },
];

const HICCUPS: readonly Trouble[] = [
  { name: 'SCRIPT FLUSH', begin: () => often(() => admin.script('FLUSH')), end: () => undefined, rejects: false },
  { name: 'FLUSHALL', begin: () => often(() => admin.flushall()), end: () => undefined, rejects: false },
  {
    name: 'the subscriber is killed',
    begin: () => often(() => admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')),
    end: () => undefined,
    rejects: false,
  },
  {
    name: 'the command connection is killed',
    begin: () => often(() => admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')),
    end: () => undefined,
    rejects: false,
  },
];

describe.each([...OUTAGES, ...HICCUPS])('Redis: $name', (trouble) => {
  it('fails no call, tells those who ask to be told, and collapses again afterwards', async () => {
    const processes = await startProcesses(trouble);
    await collapses(processes, 'before');
    const keys = ['steady-0', 'steady-1', 'steady-2'];
    await Promise.all(processes.map((each) => each.startSteady({ keys, everyMs: EVERY_MS, loadMs: LOAD_MS })));
    await moreCalls(processes, 10);
    const from = monotonicMs();
    await trouble.begin();
    if (trouble.rejects) expect(await rejections(processes, trouble)).toEqual(Array(PROCESSES).fill('ERR_ONEFLIGHT_COORDINATOR'));
    await moreCalls(processes, CALLS_DURING);
    await trouble.end();
    const backAt = monotonicMs();
    const recoveredMs = await recovers(processes, backAt, trouble.rejects ? RECOVERY_MS_MAX : HICCUP_MS_MAX);
    const answers = (await Promise.all(processes.map((each) => each.stopSteady()))).flat();
    const during = answers.filter(({ startedAt }) => startedAt >= from && startedAt < backAt);
    const [added, afterwards] = [during.map(addedMs), answers.filter(({ startedAt }) => startedAt >= backAt).map(addedMs)];
    console.log(
      `Redis ${trouble.name}: ${during.length} calls in ${ms(backAt - from)}, 0 failed, added p50 ${ms(quantile(added, 0.5))}, p99 ${ms(quantile(added, 0.99))}; one load per burst again after ${ms(recoveredMs)}; ${afterwards.length} calls afterwards, added max ${ms(Math.max(...afterwards))}`,
    );
    expect(answers.filter(({ error }) => error !== undefined)).toEqual([]);
    expect(quantile(added, 0.5)).toBeLessThanOrEqual(SILENCE_MS_MAX);
    expect(Math.max(...added, ...afterwards)).toBeLessThanOrEqual(LEASE_MS + 2 * SILENCE_MS_MAX);
    // Claims that a silent server runs later leave no lease behind for which callers would wait.
    if (trouble.silent === true) expect(Math.max(...afterwards)).toBeLessThanOrEqual(LEASE_MS / 2);
    await endQuietly(processes);
  });
});

describe.each(OUTAGES.filter(({ silent }) => silent))('Redis: $name, and nothing is shared', (trouble) => {
  it(`lets a call wait no longer than commandTimeoutMs, and after ${VAIN_CALLS_MAX} calls hardly at all`, async () => {
    const [process] = await stage.fleet(1, { url: link.url });
    if (process === undefined) throw new Error('expected a process');
    await process.burst({ key: 'warm', calls: 1, loadMs: 0 });
    await trouble.begin();
    const waits: number[] = [];
    for (let call = 0; call < 8 * VAIN_CALLS_MAX; call++) {
      const [answer] = await process.burst({ key: `lonely-${call}`, calls: 1, loadMs: 0 });
      expect(answer).toMatchObject({ source: 'degraded' });
      waits.push(answer === undefined ? Number.NaN : addedMs(answer));
    }
    const [first, later] = [waits.slice(0, VAIN_CALLS_MAX), waits.slice(VAIN_CALLS_MAX)];
    console.log(
      `Redis ${trouble.name}: the first ${first.length} calls of new keys wait p50 ${ms(quantile(first, 0.5))}, max ${ms(Math.max(...first))}; ${later.length} later ones p50 ${ms(quantile(later, 0.5))}, p99 ${ms(quantile(later, 0.99))}; waited in vain: ${waits.filter((wait) => wait > KNOWING_MS_MAX).length}`,
    );
    expect(Math.max(...waits)).toBeLessThanOrEqual(SILENCE_MS_MAX);
    expect(quantile(later, 0.9)).toBeLessThanOrEqual(KNOWING_MS_MAX);
  });
});

async function startProcesses({ user }: Trouble): Promise<readonly ReplicaProcess[]> {
  if (user === undefined) return stage.fleet(PROCESSES, { url: link.url });
  await admin.acl('SETUSER', user, 'on', '>secret', '~*', '&*', '+@all');
  return stage.fleet(PROCESSES, { url: link.url.replace('redis://', `redis://${user}:secret@`) });
}

/** Calls that would rather fail than load without Redis. Returns the codes of their errors; a call that is not told soon fails the test. */
async function rejections(processes: readonly ReplicaProcess[], { silent = false, name }: Trouble): Promise<unknown[]> {
  // The first claim after a fault may still be answered by what was there before.
  const request = { calls: 1, loadMs: 0, runOptions: { whenDegraded: 'reject' } };
  await waitFor(async () =>
    (await Promise.all(processes.map((each) => each.burst({ ...request, key: `probe-${monotonicMs()}` }))))
      .flat()
      .every(({ error }) => error),
  );
  const answers = (await Promise.all(processes.map((each) => each.burst({ ...request, key: `rejecting-${name}` })))).flat();
  for (const { startedAt, endedAt } of answers) expect(endedAt - startedAt).toBeLessThanOrEqual(silent ? SILENCE_MS_MAX : 150);
  return answers.map(({ error }) => error?.code);
}

/** Resolves when each process has answered so many more calls. */
async function moreCalls(processes: readonly ReplicaProcess[], count: number): Promise<void> {
  const answered = async (): Promise<number[]> =>
    (await Promise.all(processes.map((each) => each.stats()))).map(({ totals, waiters }) => (totals['calls'] ?? 0) - waiters);
  const before = await answered();
  await waitFor(async () => (await answered()).every((now, index) => now >= (before[index] ?? 0) + count), {
    what: `${count} answers of each process`,
    timeoutMs: 20_000,
  });
}

/** One call of each process, overlapping: whether they were one load. */
async function collapses(processes: readonly ReplicaProcess[], key: string): Promise<boolean> {
  const barrier = { key: `barrier:${key}`, count: processes.length };
  const answers = await Promise.all(processes.map((each) => each.burst({ key, calls: 2, loadMs: 5, barrier })));
  expect(answers.flat().filter(({ error }) => error !== undefined)).toEqual([]);
  return (await stage.loads(key)) === 1;
}

/** How long after `since` a burst was one load again. Throws when that takes longer than `withinMs`. */
async function recovers(processes: readonly ReplicaProcess[], since: number, withinMs: number): Promise<number> {
  for (let burst = 0; ; burst++) {
    const startedMs = monotonicMs() - since;
    expect(startedMs).toBeLessThan(withinMs);
    if (await collapses(processes, `recovery-${burst}`)) return startedMs;
  }
}

/** The part of a call's time in which no load ran that answered it. */
function addedMs({ startedAt, endedAt, load }: CallReport): number {
  if (load === undefined) return endedAt - startedAt;
  return endedAt - startedAt - Math.max(0, Math.min(endedAt, load.endedAt) - Math.max(startedAt, load.startedAt));
}

/** Again and again, as long as some traffic takes. */
async function often(harm: () => Promise<unknown>): Promise<void> {
  for (let times = 0; times < 5; times++) {
    await harm();
    const until = monotonicMs() + 60;
    await waitFor(() => monotonicMs() > until);
  }
}

/** The processes end by themselves, without errors, and said nothing but what an operator should know. */
async function endQuietly(processes: readonly ReplicaProcess[]): Promise<void> {
  expect(await Promise.all(processes.map((each) => each.close()))).toEqual(Array(PROCESSES).fill(0));
  for (const { stderr } of processes) {
    const lines = stderr.join('').split('\n');
    expect(lines.filter((line) => line !== '' && !line.includes('ONEFLIGHT_DEGRADED') && !line.includes('--trace-warnings'))).toEqual([]);
  }
}
