import { redisCommand, startRedis, type TestServer } from '@oneflight/testkit';
import { addUp } from './commands-sent.js';
import { monotonicMs } from './loaded.js';
import { ReplicaProcess } from './replica-process.js';
import type { Cost } from './replica-protocol.js';
import { sum } from './statistics.js';
import { loadSystem, type SystemId } from './systems/index.js';
import type { System } from './systems/system.js';

/** How long after the ask the replicas begin: every one has read it by then. */
const LEAD_MS = 30;

/** What a measurement cost, all replicas and Redis together. */
export interface FleetCost extends Cost {
  /** Sent to Redis; where that is not known, those that Redis ran. */
  readonly commands: number;
  readonly bytesOut: number;
  readonly redisCpuMs: number;
}

/** Scripts that were called: what oneflight needs a round trip for each. */
export function scriptsIn({ sent }: Cost): number {
  return (sent['evalsha'] ?? 0) + (sent['eval'] ?? 0);
}

/** Some replicas with one system, and a Redis that only they use. */
export interface Fleet {
  readonly id: SystemId;
  readonly system: System;
  readonly replicas: ReplicaProcess[];
  /** Asks every replica for the same thing at the same moment. */
  together<R extends Cost>(
    ask: (replica: ReplicaProcess, at: number) => Promise<R>,
  ): Promise<{ replies: R[]; startedAt: number; cost: FleetCost }>;
  /** Starts one more replica in place of one that is gone. */
  replace(replica: ReplicaProcess): Promise<void>;
  close(): Promise<void>;
}

export async function startFleet(id: SystemId, size: number): Promise<Fleet> {
  const redis = await startRedis();
  const replicas = Array.from({ length: size }, () => new ReplicaProcess(id, redis.url));
  const close = async (): Promise<void> => {
    await Promise.all(replicas.map((replica) => replica.close()));
    await redis.stop();
  };
  try {
    await Promise.all(replicas.map(({ ready }) => ready));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    id,
    system: await loadSystem(id),
    replicas,
    close,
    async together(ask) {
      const before = await countersOf(redis);
      const startedAt = monotonicMs() + LEAD_MS;
      const replies = await Promise.all(replicas.map((replica) => ask(replica, startedAt)));
      const after = await countersOf(redis);
      return { replies, startedAt, cost: costOf(replies, before, after) };
    },
    async replace(replica) {
      const successor = new ReplicaProcess(id, redis.url);
      replicas.splice(replicas.indexOf(replica), 1, successor);
      await successor.ready;
    },
  };
}

interface Counters {
  readonly commands: number;
  readonly bytesOut: number;
  readonly cpuMs: number;
  /** The length of the reply that told them, which the next one counts. */
  readonly replyBytes: number;
}

async function countersOf({ host, port }: TestServer): Promise<Counters> {
  const text = String(await redisCommand({ host, port }, 'INFO', 'everything'));
  const number = (name: string): number => Number(new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1] ?? Number.NaN);
  return {
    commands: number('total_commands_processed'),
    bytesOut: number('total_net_output_bytes'),
    cpuMs: (number('used_cpu_user') + number('used_cpu_sys')) * 1_000,
    replyBytes: Buffer.byteLength(text) + `$${Buffer.byteLength(text)}\r\n\r\n`.length,
  };
}

function costOf(replies: readonly Cost[], before: Counters, after: Counters): FleetCost {
  const sent = addUp(replies.map((reply) => reply.sent));
  return {
    cpuMs: sum(replies.map(({ cpuMs }) => cpuMs)),
    sent,
    commands: sum(Object.values(sent)) || after.commands - before.commands - 1,
    bytesOut: after.bytesOut - before.bytesOut - before.replyBytes,
    redisCpuMs: after.cpuMs - before.cpuMs,
  };
}
