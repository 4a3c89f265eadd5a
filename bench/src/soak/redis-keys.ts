import { redisCommand, type Reply, type TestServer } from '@oneflight/testkit';
import { setTimeout as sleep } from 'node:timers/promises';

/** What a Redis holds once all has expired that belongs to flights. */
export interface KeysLeft {
  readonly withoutExpiry: number;
  /** What invalidations leave, and tags, for minutes: docs/protocol.md says how long. */
  readonly ofInvalidations: number;
  readonly others: number;
}

/** Bytes that Redis has given to its data, and to what it keeps it by. */
export async function usedMemory(server: TestServer): Promise<number> {
  const info = String(await redisCommand(server, 'INFO', 'memory'));
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}

/** Waits for what expires within seconds, and counts what does not. */
export async function keysLeft(server: TestServer): Promise<KeysLeft> {
  let left = await counted(server);
  for (const until = performance.now() + EXPIRY_MS_MAX; left.others > 0 && performance.now() < until; left = await counted(server))
    await sleep(500);
  return left;
}

/** More than twice the lease, and than the retention. */
const EXPIRY_MS_MAX = 20_000;

async function counted(server: TestServer): Promise<KeysLeft> {
  const names = await namesIn(server);
  const ofInvalidations = names.filter((name) => KEPT_FOR_MINUTES.has(name.slice(name.lastIndexOf(':')))).length;
  const keyspace = String(await redisCommand(server, 'INFO', 'keyspace'));
  const [, keys = 0, expires = 0] = /keys=(\d+),expires=(\d+)/.exec(keyspace) ?? [];
  return { withoutExpiry: Number(keys) - Number(expires), ofInvalidations, others: names.length - ofInvalidations };
}

/** Floors of keys, members of tags, marks of tags, and their clock. */
const KEPT_FOR_MINUTES = new Set([':s', ':k', ':i', ':c']);

async function namesIn(server: TestServer): Promise<string[]> {
  const names: string[] = [];
  let cursor = '0';
  do {
    const [next, found] = listed(await redisCommand(server, 'SCAN', cursor, 'COUNT', 1_000));
    names.push(...listed(found).map(String));
    cursor = String(next);
  } while (cursor !== '0');
  return [...new Set(names)];
}

function listed(reply: Reply | undefined): readonly Reply[] {
  return typeof reply === 'object' && reply !== null ? reply : [];
}
