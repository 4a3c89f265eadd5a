import { setTimeout as sleep } from 'node:timers/promises';
import type { Coordinator } from '@oneflight/core';
import { type ContractClause, coordinatorContract } from '@oneflight/core/testing';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quorumCoordinator } from '../../src/index.js';
import { CrashableRedis } from '../support/crashable.js';

let servers: TestServer[] = [];
let admins: Redis[] = [];
let clauses = 0;

beforeAll(async () => {
  servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
  admins = servers.map((server) => new Redis(server.url));
});

afterAll(async () => {
  for (const admin of admins) admin.disconnect();
  await Promise.all(servers.map((server) => server.stop()));
});

const NO_STORE = 'a quorum collapses and stores nothing: a stored outcome would have to be found again on a majority';
const STORING: readonly ContractClause[] = [
  'a settled value that is to be stored answers claims that accept its age, and no others',
  'a claim that is answered from the store registers nobody and leads nothing',
  'a value is stored for as long as was asked, and its age is told',
  'a value that is not fresh comes with the right to lead, and while somebody leads it answers the others',
  'a value that is stored for much longer than a lease is still served stale while it is refreshed',
  'a failed load stores its error beside the last value, and answers with the value as long as that is accepted',
  'a flight that was taken over stores nothing, and the value of its successor stays',
  'a value that says itself how long it may be used is never used for longer, whatever a claim accepts',
  'a claim gets no more of a value with lifetimes of its own than it accepts itself',
  'a value that was old when it settled is as old as it says',
  'a value that answers nobody any more still comes with the right to lead to who wants to ask whether it holds',
  'a look at what is stored gives it of whatever age, registers nobody and leads nothing',
  'a look at what is stored finds nothing from before an invalidation, also one that the server lost',
  'the tag clock moves with each invalidation of a tag, and every replica reads the same',
  'an invalidation of a tag finds the keys that carry it, until they were invalidated',
  'a key that is noted while its tag is invalidated is told of it, and waits for the next invalidation',
  'a key that asks without being noted is told of invalidations, and is found by none',
  'what an invalidation that was broken off has left is found by the next',
  'a key that was noted again is not taken out by an older invalidation',
  'an invalidation that is executed twice loses no key',
  'every replica is told that a tag was invalidated, the one that says so too',
];

coordinatorContract({
  name: 'quorumCoordinator over three independent servers',
  runner: { describe, it, expect },
  skip: Object.fromEntries(STORING.map((clause) => [clause, NO_STORE])),
  async open({ leaseMs, recheckMs }) {
    const prefix = `contract-${(clauses += 1)}`;
    const processes = new Map<Coordinator, readonly CrashableRedis[]>();
    return {
      coordinator() {
        const [a, b, c] = servers.map((server) => new CrashableRedis({ host: server.host, port: server.port, lazyConnect: true }));
        if (a === undefined || b === undefined || c === undefined) throw new Error('expected three servers');
        const coordinator = quorumCoordinator({
          nodes: [a, b, c],
          prefix,
          leaseMs,
          recheckMs,
          commandTimeoutMs: Math.min(2_000, leaseMs - 1),
        });
        processes.set(coordinator, [a, b, c]);
        return coordinator;
      },
      advance: (ms) => sleep(ms),
      async crash(coordinator) {
        await Promise.all((processes.get(coordinator) ?? []).map((connections) => connections.crash()));
      },
      async wipe() {
        for (const admin of admins) {
          const keys = await admin.keys(`${prefix}:*`);
          if (keys.length > 0) await admin.del(keys);
        }
      },
      async close() {},
    };
  },
});
