import { setTimeout as sleep } from 'node:timers/promises';
import type { Coordinator } from '@oneflight/core';
import { coordinatorContract } from '@oneflight/core/testing';
import { startSentinel, type TestSentinel } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { CrashableRedis } from '../support/crashable.js';

let servers: TestSentinel;
let admin: Redis;
let clauses = 0;

beforeAll(async () => {
  servers = await startSentinel();
  admin = new Redis((await servers.master()).url);
});

afterAll(async () => {
  admin.disconnect();
  await servers.stop();
});

coordinatorContract({
  name: 'redisCoordinator over a master that Sentinel watches',
  runner: { describe, it, expect },
  async open({ leaseMs, recheckMs }) {
    const prefix = `contract-${(clauses += 1)}`;
    const processes = new Map<Coordinator, CrashableRedis>();
    return {
      coordinator() {
        const redis = new CrashableRedis({ sentinels: [...servers.sentinels], name: servers.name, lazyConnect: true });
        const coordinator = redisCoordinator({ redis, prefix, leaseMs, recheckMs, commandTimeoutMs: Math.min(2_000, leaseMs - 1) });
        processes.set(coordinator, redis);
        return coordinator;
      },
      advance: (ms) => sleep(ms),
      async crash(coordinator) {
        await processes.get(coordinator)?.crash();
      },
      async wipe() {
        const keys = await admin.keys(`${prefix}:*`);
        if (keys.length > 0) await admin.del(keys);
      },
      async close() {},
    };
  },
});
