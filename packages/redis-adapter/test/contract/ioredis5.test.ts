import { setTimeout as sleep } from 'node:timers/promises';
import type { Coordinator } from '@oneflight/core';
import { coordinatorContract } from '@oneflight/core/testing';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import { afterAll, beforeAll, describe, expect, it, test, vi } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { CrashableRedis } from '../support/crashable.js';

// Everything here, our own sources too, sees the ioredis that a user has who stays on version 5.
vi.mock('ioredis', async () => await import('ioredis5'));

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

test('the clients of this file are of version 5', () => {
  expect(client).toBeInstanceOf(Redis5);
});

coordinatorContract({
  name: 'redisCoordinator on ioredis 5',
  runner: { describe, it, expect },
  async open({ leaseMs, recheckMs }) {
    const prefix = `ioredis5-${(clauses += 1)}`;
    const processes = new Map<Coordinator, CrashableRedis>();
    return {
      coordinator() {
        const process = new CrashableRedis({ host: server.host, port: server.port, lazyConnect: true });
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
