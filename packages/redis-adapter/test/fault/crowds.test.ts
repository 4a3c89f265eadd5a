import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ms, setStage, type Stage } from '../support/stage.js';

/*
 * What a crowd costs: ten thousand callers of one key. Bounds are far above what was seen, because they are to find what
 * grows, not what is slow.
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
