import { freePort, startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type CallReport, monotonicMs, type ReplicaProcess } from '../support/fleet.js';
import { ms, setStage, type Stage } from '../support/stage.js';

/*
 * Processes that start without a Redis, and processes that are to end while Redis is up, gone or frozen. Each runs with
 * --unhandled-rejections=strict, so one that nobody handled would be an exit code other than 0.
 */
let stage: Stage;
let late: TestServer | undefined;

beforeEach(async () => {
  stage = await setStage();
  late = undefined;
});

afterEach(async () => {
  stage.server.resume();
  await stage.close();
  await late?.stop();
});

it('processes that start without Redis answer, say so once, and collapse once Redis is there', async () => {
  const port = await freePort();
  const processes = await stage.fleet(3, { url: `redis://127.0.0.1:${port}` });
  const answers = await burst(processes, 'without', 20);
  expect(answers.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(new Set(answers.map(({ source }) => source))).toEqual(new Set(['degraded', 'local']));
  expect(await stage.loads('without')).toBe(3);
  for (let more = 0; more < 20; more++) await burst(processes, `without-${more}`, 2);
  expect(processes.map(warnings)).toEqual([1, 1, 1]);
  late = await startRedis({ port });
  const backAt = monotonicMs();
  let bursts = 0;
  await waitFor(async () => {
    const key = `with-${bursts++}`;
    const collapsed = await burst(processes, key, 5);
    expect(collapsed.filter(({ error }) => error !== undefined)).toEqual([]);
    return (await stage.loads(key)) === 1;
  });
  console.log(`started without Redis: one load per burst ${ms(monotonicMs() - backAt)} after it came, at burst ${bursts}; warned once`);
  expect(await endedBy(processes, 5_000)).toEqual([0, 0, 0]);
  expect(processes.map(warnings)).toEqual([1, 1, 1]);
  expect(processes.flatMap(unexpected)).toEqual([]);
});

it.each([
  { state: 'up', harm: async () => {} },
  { state: 'gone', harm: () => stage.server.kill9() },
  { state: 'frozen', harm: async () => stage.server.pause() },
])('a process whose Redis is $state ends by itself after close()', async ({ state, harm }) => {
  const processes = await stage.fleet(2);
  await burst(processes, 'before', 5);
  await harm();
  const startedAt = monotonicMs();
  expect(await endedBy(processes, 15_000)).toEqual([0, 0]);
  console.log(`close() with Redis ${state}: the process has ended after ${ms(monotonicMs() - startedAt)}`);
  expect(processes.flatMap(unexpected)).toEqual([]);
});

it.each([
  { state: 'gone', harm: () => stage.server.kill9() },
  { state: 'frozen', harm: async () => stage.server.pause() },
])('a process that leads a flight, and one that follows, answer and end by themselves when Redis is $state', async ({ state, harm }) => {
  const processes = await stage.fleet(2);
  const barrier = { key: 'open', count: 3 };
  const answers = processes.map((each) => each.burst({ key: 'k', calls: 5, loadMs: 0, barrier }));
  await waitFor(async () => Number(await stage.control.get('open')) === 2);
  await harm();
  const closing = endedBy(processes, 15_000);
  await stage.control.incr('open');
  const answered = (await Promise.all(answers)).flat();
  expect(answered.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(await closing).toEqual([0, 0]);
  console.log(`close() in mid-flight with Redis ${state}: ${answered.length} callers answered by ${await stage.loads('k')} loads`);
  expect(await stage.loads('k')).toBeLessThanOrEqual(2);
  expect(processes.flatMap(unexpected)).toEqual([]);
});

/** The processes call one key, and its load goes on until all have called. */
async function burst(processes: readonly ReplicaProcess[], key: string, calls: number): Promise<CallReport[]> {
  const barrier = { key: `barrier:${key}`, count: processes.length };
  return (await Promise.all(processes.map((each) => each.burst({ key, calls, loadMs: 5, barrier })))).flat();
}

/** Closes them; the exit codes of those that ended by themselves in time. */
async function endedBy(processes: readonly ReplicaProcess[], withinMs: number): Promise<(number | null)[]> {
  const timer = setTimeout(() => processes.forEach((each) => each.kill()), withinMs);
  try {
    return await Promise.all(processes.map((each) => each.close()));
  } finally {
    clearTimeout(timer);
  }
}

function warnings({ stderr }: ReplicaProcess): number {
  return stderr.join('').split('ONEFLIGHT_DEGRADED').length - 1;
}

/** Lines on stderr that are neither our warning nor Node's hint below it. */
function unexpected({ stderr }: ReplicaProcess): string[] {
  const lines = stderr.join('').split('\n');
  return lines.filter((line) => line !== '' && !line.includes('ONEFLIGHT_DEGRADED') && !line.includes('--trace-warnings'));
}
