import { setTimeout as sleep } from 'node:timers/promises';
import type { Coordinator } from '@oneflight/core';
import { coordinatorContract } from '@oneflight/core/testing';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { CrashableRedis } from '../support/crashable.js';

let server: TestServer;
let client: Redis;
let clauses = 0;

beforeAll(async () => {
  server = await startRedis();
  client = new Redis(server.url);
});

afterAll(async () => {
  client.disconnect();
  await server.stop();
});

for (const protocol of [2, 3] as const) {
  coordinatorContract({
    name: `redisCoordinator over RESP${protocol}`,
    runner: { describe, it, expect },
    async open({ leaseMs, recheckMs }) {
      const prefix = `contract-${(clauses += 1)}`;
      const processes = new Map<Coordinator, CrashableRedis>();
      return {
        coordinator() {
          const process = new CrashableRedis({ host: server.host, port: server.port, protocol, lazyConnect: true });
          const coordinator = redisCoordinator({
            redis: process,
            prefix,
            leaseMs,
            recheckMs,
            commandTimeoutMs: Math.min(2_000, leaseMs - 1),
          });
          processes.set(coordinator, process);
          return coordinator;
        },
        advance: (ms) => sleep(ms),
        async crash(coordinator) {
          await processes.get(coordinator)?.crash();
        },
        async wipe() {
          const keys = await client.keys(`${prefix}:*`);
          if (keys.length > 0) await client.del(keys);
        },
        async close() {
          for (const process of processes.values()) process.disconnect();
        },
      };
    },
  });
}
