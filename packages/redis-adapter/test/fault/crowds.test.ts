import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ms, SCALE, setStage, type Stage } from '../support/stage.js';

/*
 * What a crowd costs: ten thousand callers of one key, and more keys than anybody has. Bounds are far above what was
 * seen, because they are to find what grows, not what is slow.
 */
const MIB = 1_048_576;
let stage: Stage;

beforeAll(async () => {
  stage = await setStage();
});

afterAll(() => stage.close());

it('10,000 callers of one key in each of two processes share one load of 1 MiB', { timeout: 60_000 }, async () => {
  const waiters = 10_000;
  const scenario = {
    scenario: 'hotKey',
    url: stage.server.url,
    controlUrl: stage.controlServer.url,
    waiters,
    valueBytes: MIB,
    processes: 2,
  };
  // The encoding of 1 MiB, twice, may take longer than a command may: a lease must not end for it.
  const reports = await Promise.all([runCrowd(scenario), runCrowd(scenario)]);
  const [leading, following] = reports.toSorted((a, b) => Number(b['loads']) - Number(a['loads']));
  for (const [role, report] of Object.entries({ leading, following })) {
    console.log(
      `10,000 callers of one key, ${role}: ${(Number(report?.['waitingBytes']) / waiters).toFixed(0)} bytes per waiter, ${(Number(report?.['leftBytes']) / MIB).toFixed(1)} MiB left afterwards, event loop delayed p99 ${ms(Number(report?.['delayP99Ms']))}, max ${ms(Number(report?.['delayMaxMs']))}`,
    );
  }
  expect(leading).toMatchObject({ loads: 1, sources: { leader: 1, local: waiters - 1 }, bytes: MIB, flights: 0, waitersLeft: 0 });
  expect(following).toMatchObject({ loads: 0, sources: { remote: 1, local: waiters - 1 }, bytes: MIB, flights: 0, waitersLeft: 0 });
  for (const report of reports) {
    expect(Number(report['waitingBytes'])).toBeLessThan(waiters * 2_048 + 4 * MIB);
    expect(Number(report['leftBytes'])).toBeLessThan(8 * MIB);
    expect(Number(report['delayP99Ms'])).toBeLessThan(500);
  }
});

it('300,000 keys through one process leave nothing behind', { timeout: 120_000 * SCALE }, async () => {
  const keys = 300_000 * SCALE;
  const report = await runCrowd({ scenario: 'manyKeys', keys, parallel: 1_000 });
  tell(`${keys} keys in one process`, keys, report);
  expect(report).toMatchObject({ flights: 0, joinable: 0, waitersLeft: 0, totals: { leader: keys, loads: keys, errors: 0 } });
  expect(Number(report['grownBytes'])).toBeLessThan(2 * MIB);
});

it('30,000 keys over Redis leave nothing behind, there neither', { timeout: 120_000 * SCALE }, async () => {
  const keys = 30_000 * SCALE;
  // Patient, because collecting garbage in the middle stops the process for a while.
  const options = { leaseMs: 2_500, commandTimeoutMs: 2_000, recheckMs: 500, retainMs: 2_500 };
  const report = await runCrowd({ scenario: 'manyKeys', url: stage.server.url, keys, parallel: 500, options });
  tell(`${keys} keys over Redis`, keys, report);
  expect(report).toMatchObject({ flights: 0, joinable: 0, waitersLeft: 0, totals: { leader: keys, loads: keys, errors: 0, degraded: 0 } });
  expect(Number(report['grownBytes'])).toBeLessThan(4 * MIB);
  const probe = new Redis(stage.server.url);
  // A state lives for two leases after its claim.
  await waitFor(async () => (await probe.dbsize()) === 0, { timeoutMs: 10_000, what: 'Redis to be empty' });
  probe.disconnect();
});

/** Runs one scenario in a process of its own, which has to end by itself and to say nothing. */
async function runCrowd(request: object): Promise<Record<string, unknown>> {
  const script = fileURLToPath(new URL('../support/crowd-process.mjs', import.meta.url));
  const execArgv = ['--expose-gc', '--unhandled-rejections=strict'];
  const child = fork(script, [JSON.stringify(request)], { execArgv, stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  let stderr = '';
  let report: unknown;
  child.stderr?.on('data', (chunk: Buffer) => (stderr += String(chunk)));
  child.once('message', (message) => (report = message));
  const [code] = (await once(child, 'exit')) as [number | null];
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return report as Record<string, unknown>;
}

function tell(what: string, keys: number, report: Record<string, unknown>): void {
  const [grown, used] = [Number(report['grownBytes']), Number(report['usedBytes'])].map((bytes) => (bytes / MIB).toFixed(2));
  const tookMs = Number(report['tookMs']);
  console.log(
    `${what}: ${ms(tookMs)}, ${Math.round((keys / tookMs) * 1_000)} flights/s, ${used} MiB in use, ${grown} MiB more than after the first fifth`,
  );
}
