import { isLinearizable, readsThatMiss, startRedis, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RegisterProcesses, type RegisterPlan } from '../support/register-history.js';

/*
 * Three processes write a register in a Redis of its own, directly, and read it through collapsers on another Redis. Their
 * histories are put together by the machine's clock and judged: by a checker that has its own tests.
 */
let servers: readonly TestServer[] = [];
let processes: RegisterProcesses;

beforeAll(async () => {
  const [coordination, register] = await Promise.all([startRedis(), startRedis()]);
  servers = [coordination, register];
  processes = new RegisterProcesses(3, { url: coordination.url, registerUrl: register.url });
  await processes.ready();
});

afterAll(async () => {
  await processes.close();
  await Promise.all(servers.map((server) => server.stop()));
});

const PLAN: Omit<RegisterPlan, 'key' | 'freshness' | 'invalidates'> = { clients: 2, operations: 40, loadMs: 20 };
const OPERATIONS = 3 * PLAN.clients * PLAN.operations;

describe('a register that several processes read through collapsers', () => {
  it('is linearizable for strict reads, although nobody tells of a write', async () => {
    const history = await processes.history({ ...PLAN, key: 'strict', freshness: 'strict', invalidates: false });
    expect(history).toHaveLength(OPERATIONS);
    expect(readsThatMiss(history)).toEqual([]);
    expect(isLinearizable(history)).toBe(true);
  });

  it('never hides a write from confirmed reads once its invalidation has resolved', async () => {
    const history = await processes.history({ ...PLAN, key: 'confirmed', freshness: 'confirmed', invalidates: true });
    expect(history).toHaveLength(OPERATIONS);
    expect(readsThatMiss(history)).toEqual([]);
  });

  it('hides writes from reads that join and that nobody tells: so the two above could have failed', async () => {
    const history = await processes.history({ ...PLAN, key: 'join', freshness: 'join', invalidates: false });
    expect(readsThatMiss(history).length).toBeGreaterThan(0);
    expect(isLinearizable(history)).toBe(false);
  });
});
