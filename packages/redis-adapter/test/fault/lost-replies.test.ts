import { type RespProxy, startRespProxy, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CallReport, type ReplicaProcess } from '../support/fleet.js';
import { SCALE, setStage, type Stage } from '../support/stage.js';
import { isRefusal, SCRIPT_NAMES, type ScriptName, scriptOf } from '../support/traps.js';

/*
 * The server runs a script and its reply is lost: with the connection (cut), or without a sign while the connection
 * stays (held for longer than a command may take). Nobody may follow himself, and nothing may outlive the lease.
 */
const ROUNDS = 5 * SCALE;
const PROCESSES = 3;
const CALLS = 3;
const LEASE_MS = 900;
const OPTIONS = {
  leaseMs: LEASE_MS,
  commandTimeoutMs: 200,
  recheckMs: 150,
  // The next round begins with a process that knows that Redis is back.
  breaker: { halfOpenAfterMs: 20, halfOpenMaxMs: 50 },
};
/** Longer than a third of the lease, so that leases are renewed. */
const LOAD_MS = 350;

let stage: Stage;
let probe: Redis;
let link: RespProxy;
let processes: readonly ReplicaProcess[];

beforeAll(async () => {
  stage = await setStage();
  probe = new Redis(stage.server.url);
  link = await startRespProxy({ target: stage.server });
  processes = await stage.fleet(PROCESSES, { url: link.url, options: OPTIONS });
});

afterAll(async () => {
  await stage.close();
  probe.disconnect();
  await link.stop();
});

describe.each(SCRIPT_NAMES)('a lost reply to %s', (script) => {
  it.each(['cut', 'hold'] as const)('(%s) fails no call, makes nobody follow himself, and leaves no lease behind', async (how) => {
    let lost = 0;
    let loads = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const key = `${script}-${how}-${round}`;
      lost += await loseOne(script, how, key);
      loads += await stage.loads(key);
    }
    expect(lost).toBe(ROUNDS);
    expect(await followsItself()).toBe(0);
    await noLeaseOutlives();
    // A connection that is back at once costs no load: what was lost is sent again. Two are for a machine that is too busy.
    // Silence costs one, of the process that it hits; so does an invalidation, for who looks again after it.
    const cost = script === 'invalidate' ? 2 * ROUNDS : how === 'hold' ? ROUNDS : 2;
    expect(loads).toBeLessThanOrEqual(ROUNDS + cost);
    console.log(`lost reply to ${script} (${how}): ${ROUNDS} times, ${loads} loads, 0 failed calls`);
  });
});

describe('after all of them', () => {
  it('the processes hold nothing, said nothing but that Redis was silent, and end by themselves', async () => {
    link.rules = {};
    await waitFor(async () => (await stats()).every(({ flights, waiters }) => flights === 0 && waiters === 0));
    expect(await Promise.all(processes.map((each) => each.close()))).toEqual(Array(PROCESSES).fill(0));
    for (const { stderr } of processes) expect(stderr.join('').split('\n').filter(isUnexpected)).toEqual([]);
  });
});

/** All call the key, the reply to one script of one of them is lost. Returns how many were lost. */
async function loseOne(script: ScriptName, how: 'cut' | 'hold', key: string): Promise<number> {
  let lost = 0;
  await waitFor(async () => (await stats()).every(({ degraded }) => !degraded) || (await tryAll(`${key}-reached`)), {
    what: 'Redis to be reached',
  });
  link.rules = {
    reply(command, reply) {
      if (lost > 0 || scriptOf(command) !== script || isRefusal(reply)) return 'pass';
      lost += 1;
      return how;
    },
  };
  const calls = { key, calls: CALLS, loadMs: LOAD_MS, value: key };
  const answers = Promise.all(processes.map((each) => each.burst(calls)));
  if (script === 'invalidate') {
    await waitFor(async () => (await stage.loads(key)) > 0);
    await processes[0]?.tryInvalidate(key);
  }
  // A call that is not wanted any more is what a release is for.
  if (script === 'release') await processes[0]?.burst({ ...calls, key: `${key}-left`, runOptions: { timeoutMs: 50 } });
  const answered = (await answers).flat();
  expect(answered.map(summary)).toEqual(Array(PROCESSES * CALLS).fill({ error: undefined, value: key }));
  await waitFor(async () => lost > 0 && (await stats()).every(({ flights }) => flights === 0), {
    what: `a reply to ${script} and its loss`,
  });
  link.rules = {};
  link.release();
  return lost;
}

/** Whether each process reaches Redis now. */
async function tryAll(key: string): Promise<boolean> {
  const answers = await Promise.all(processes.map((each, index) => each.burst({ key: `${key}-${index}`, calls: 1, loadMs: 0 })));
  return answers.flat().every(({ source }) => source !== 'degraded');
}

function summary({ error, load }: CallReport): object {
  return { error, value: load?.value };
}

/** A lease that nobody renews is gone when it ends, whatever was lost. */
async function noLeaseOutlives(): Promise<void> {
  const leases = async (): Promise<string[]> => probe.keys('*:l');
  await waitFor(async () => (await leases()).length === 0, { timeoutMs: LEASE_MS + 500, what: 'the leases to end' });
}

async function followsItself(): Promise<number> {
  const counts = await Promise.all(processes.map((each) => each.events()));
  return counts.reduce((sum, { followsItself: count = 0 }) => sum + count, 0);
}

async function stats() {
  return Promise.all(processes.map((each) => each.stats()));
}

function isUnexpected(line: string): boolean {
  return line !== '' && !line.includes('ONEFLIGHT_DEGRADED') && !line.includes('--trace-warnings');
}
