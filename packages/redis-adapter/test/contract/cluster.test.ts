import { setTimeout as sleep } from 'node:timers/promises';
import type { Coordinator } from '@oneflight/core';
import { coordinatorContract } from '@oneflight/core/testing';
import { startCluster, type TestCluster } from '@oneflight/testkit';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { type Crashable, crashable } from '../support/crashable.js';

let servers: TestCluster;
let admin: Cluster;
let clauses = 0;

beforeAll(async () => {
  servers = await startCluster();
  admin = new Cluster(addresses());
});

afterAll(async () => {
  admin.disconnect();
  await servers.stop();
});

coordinatorContract({
  name: 'redisCoordinator over a Redis Cluster of three masters and three replicas',
  runner: { describe, it, expect },
  skip: {
    'a wake-up passes over a waiter whose process is gone':
      'PUBLISH on a node of a cluster counts the subscribers of that node only, so the script cannot know; the recheck of another waiter does it later',
  },
  async open({ leaseMs, recheckMs }) {
    const prefix = `contract-${(clauses += 1)}`;
    const processes = new Map<Coordinator, Crashable>();
    return {
      coordinator() {
        const process = crashable();
        const redis = new Cluster(addresses(), { lazyConnect: true, redisOptions: { Connector: process.Connector } });
        const coordinator = redisCoordinator({ redis, prefix, leaseMs, recheckMs, commandTimeoutMs: Math.min(2_000, leaseMs - 1) });
        processes.set(coordinator, process);
        return coordinator;
      },
      advance: (ms) => sleep(ms),
      async crash(coordinator) {
        await processes.get(coordinator)?.crash();
      },
      async wipe() {
        for (const node of admin.nodes('master')) {
          for (const key of await node.keys(`${prefix}:*`)) await node.del(key);
        }
      },
      async close() {},
    };
  },
});

function addresses(): { host: string; port: number }[] {
  return servers.nodes.slice(0, 3).map(({ host, port }) => ({ host, port }));
}
