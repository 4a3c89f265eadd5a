import type { Redis } from 'ioredis';
import { inboxOf, keyNames, type KeyKind, namesPattern, readName } from '../scripts/keys.js';

/** What one Redis server knows of the flights at one moment. */
export interface ServerLook {
  /** The server's own clock, in microseconds, from which tokens are made. */
  readonly timeUs: number;
  readonly flights: readonly Flight[];
  /** By key: the last token that was issued for a flight. An invalidation's is none of these. */
  readonly tokens: ReadonlyMap<string, number>;
  readonly counts: Readonly<Record<KeyKind, number>>;
  /** False: there are more keys than one look goes through. */
  readonly isComplete: boolean;
  readonly info: ServerInfo;
}

/** A key that somebody loads or waits for. */
export interface Flight {
  /** The key's hash, which is all that Redis has of it. */
  readonly key: string;
  /** The inbox of the process that leads; null when nobody does, and somebody waits. */
  readonly leader: string | null;
  readonly token: number | null;
  readonly ageMs: number | null;
  readonly leaseLeftMs: number | null;
  /** Inboxes of the processes that wait for it. */
  readonly followers: readonly string[];
  /** Loads of this key in a row that failed or were given up before. */
  readonly failedAttempts: number;
}

export interface ServerInfo {
  readonly address: string;
  readonly version: string;
  readonly clients: number;
  readonly usedMemory: string;
  readonly commandsPerSecond: number;
  readonly evictedKeys: number;
  readonly maxmemoryPolicy: string;
}

/** Names per SCAN, and keys per pipeline: each holds the server up for a fraction of a millisecond. */
const BATCH = 250;
/** A look ends here on a server that is full of other things. */
const NAMES_MAX = 1_000_000;

/** Reads one server. No command of it writes, and none takes long. */
export async function lookAt(server: Redis, prefix: string, namesMax = NAMES_MAX): Promise<ServerLook> {
  const info = readInfo(await server.info(), addressOf(server));
  const { hashes, counts, isComplete } = await scan(server, prefix, namesMax);
  const [seconds = 0, microseconds = 0] = (await server.time()).map(Number);
  const timeUs = seconds * 1_000_000 + microseconds;
  const flights: Flight[] = [];
  const tokens = new Map<string, number>();
  for (let start = 0; start < hashes.length; start += BATCH) {
    for (const entry of await readKeys(server, prefix, hashes.slice(start, start + BATCH))) {
      if (entry.token !== undefined) tokens.set(entry.key, entry.token);
      const flight = flightOf(entry, timeUs);
      if (flight !== undefined) flights.push(flight);
    }
  }
  return { timeUs, flights, tokens, counts, isComplete, info };
}

/** How many processes listen to each inbox on this server. */
export async function listeners(server: Redis, inboxes: readonly string[]): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (let start = 0; start < inboxes.length; start += BATCH) {
    const replies = await server.pubsub('NUMSUB', ...inboxes.slice(start, start + BATCH));
    for (let index = 0; index < replies.length; index += 2) found.set(String(replies[index]), Number(replies[index + 1]));
  }
  return found;
}

async function scan(server: Redis, prefix: string, namesMax: number) {
  const counts: Record<KeyKind, number> = { leases: 0, states: 0, waiters: 0, outcomes: 0, values: 0, failures: 0, payloads: 0, tags: 0 };
  const seen = new Set<string>();
  const hashes = new Set<string>();
  let cursor = '0';
  let scanned = 0;
  do {
    const [next, names] = await server.scan(cursor, 'MATCH', namesPattern(prefix), 'COUNT', BATCH);
    for (const name of names) {
      const found = seen.has(name) ? undefined : readName(prefix, name); // SCAN may name a key twice
      if (found === undefined) continue;
      seen.add(name);
      counts[found.kind] += 1;
      if (found.kind === 'leases' || found.kind === 'states' || found.kind === 'waiters') hashes.add(found.hash);
    }
    cursor = next;
    scanned += BATCH;
  } while (cursor !== '0' && scanned < namesMax);
  return { hashes: [...hashes], counts, isComplete: cursor === '0' };
}

interface KeyEntry {
  readonly key: string;
  readonly lease: string | undefined;
  readonly leaseLeftMs: number;
  readonly waiters: readonly string[];
  /** The last token that was issued for a flight. */
  readonly token: number | undefined;
  /** A flight that has not settled, also when its lease has ended. */
  readonly flight: string | undefined;
  readonly failedAttempts: number;
}

async function readKeys(server: Redis, prefix: string, hashes: readonly string[]): Promise<KeyEntry[]> {
  const names = keyNames(prefix);
  const pipeline = server.pipeline();
  for (const hash of hashes) {
    pipeline.get(names.lease(hash)).pttl(names.lease(hash)).hkeys(names.waiters(hash)).hmget(names.state(hash), 'n', 'fl', 'f', 'a');
  }
  const replies = (await pipeline.exec()) ?? [];
  const reply = (index: number): unknown => {
    const [error, value] = replies[index] ?? [];
    if (error) throw error;
    return value;
  };
  return hashes.map((key, index) => {
    const [n, floor, flight, attempts] = texts(reply(4 * index + 3));
    return {
      key,
      lease: text(reply(4 * index)),
      leaseLeftMs: Number(reply(4 * index + 1)),
      waiters: texts(reply(4 * index + 2)).filter((waiter) => waiter !== undefined),
      token: n === undefined || n === floor ? undefined : Number(n),
      flight,
      failedAttempts: Number(attempts ?? 0),
    };
  });
}

function flightOf({ key, lease, leaseLeftMs, waiters, flight, failedAttempts }: KeyEntry, timeUs: number): Flight | undefined {
  const followers = waiters.map(inboxOf);
  const [id, token] = lease?.split(' ') ?? [];
  if (id !== undefined && token !== undefined) {
    const ageMs = Math.max(0, Math.round((timeUs - Number(token)) / 1_000));
    return { key, leader: inboxOf(id), token: Number(token), ageMs, leaseLeftMs: Math.max(0, leaseLeftMs), followers, failedAttempts };
  }
  if (followers.length === 0 && flight === undefined) return undefined;
  return { key, leader: null, token: null, ageMs: null, leaseLeftMs: null, followers, failedAttempts };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function texts(value: unknown): (string | undefined)[] {
  return Array.isArray(value) ? value.map(text) : [];
}

function addressOf({ options }: Redis): string {
  return `${options.host ?? ''}:${options.port ?? ''}`;
}

function readInfo(info: string, address: string): ServerInfo {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  return {
    address,
    version: field('valkey_version') || field('redis_version'),
    clients: Number(field('connected_clients')),
    usedMemory: field('used_memory_human'),
    commandsPerSecond: Number(field('instantaneous_ops_per_sec')),
    evictedKeys: Number(field('evicted_keys')),
    maxmemoryPolicy: field('maxmemory_policy'),
  };
}
