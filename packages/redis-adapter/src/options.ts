import { describe, misuse } from '@oneflight/core';
import type { Redis } from 'ioredis';

/**
 * An ioredis client, or a function that makes one. It is only read: its settings are copied into connections of our
 * own. A client that the function makes is disconnected once its settings were read.
 */
export type RedisLike = Redis | (() => Redis);

/** How a {@link redisCoordinator} works. Durations are whole milliseconds. */
export interface RedisCoordinatorOptions {
  readonly redis: RedisLike;
  /** Begins every key and channel: 1 to 64 letters, digits, and `_ - . : @`. @default 'oneflight' */
  readonly prefix?: string;
  /** How long a leader keeps its right without renewing it; it renews each third. At least 100. @default 3_000 ms */
  readonly leaseMs?: number;
  /** How often a follower looks in case a wake-up was lost; it backs off to four times this. At least 10. @default 500 ms */
  readonly recheckMs?: number;
  /** How long one command may take; slower counts as degraded. At least 1, less than `leaseMs`. @default 250 ms */
  readonly commandTimeoutMs?: number;
  /** How long an outcome waits for those who were waiting for it; at least `recheckMs + commandTimeoutMs`. @default 10_000 ms */
  readonly retainMs?: number;
  /** Larger outcomes are fetched by those who wait instead of being published. 0 to `payloadBytesMax`. @default 8_192 bytes */
  readonly inlineBytesMax?: number;
  /** Larger outcomes do not travel: each replica loads for itself. Up to 512 MiB, which is Redis' own limit. @default 8_388_608 bytes */
  readonly payloadBytesMax?: number;
}

/** All options, each with a value. */
export type ResolvedOptions = Required<RedisCoordinatorOptions>;

export const DEFAULTS = Object.freeze({
  prefix: 'oneflight',
  leaseMs: 3_000,
  recheckMs: 500,
  commandTimeoutMs: 250,
  retainMs: 10_000,
  inlineBytesMax: 8_192,
  payloadBytesMax: 8_388_608,
} satisfies Omit<ResolvedOptions, 'redis'>);

/**
 * Checks the options and fills in the defaults.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION
 */
export function resolveOptions(options: RedisCoordinatorOptions): ResolvedOptions {
  if (typeof options !== 'object' || options === null) throw misuse('ERR_ONEFLIGHT_OPTION', 'an options object with redis', describe(options));
  for (const name of Object.keys(options)) checkName(name);
  const resolved = {
    redis: checkRedis(options.redis),
    prefix: checkPrefix(options.prefix ?? DEFAULTS.prefix),
    leaseMs: checkInteger('leaseMs', options.leaseMs, 100, DURATION_MS_MAX),
    recheckMs: checkInteger('recheckMs', options.recheckMs, 10, DURATION_MS_MAX),
    commandTimeoutMs: checkInteger('commandTimeoutMs', options.commandTimeoutMs, 1, DURATION_MS_MAX),
    retainMs: checkInteger('retainMs', options.retainMs, 1, DURATION_MS_MAX),
    inlineBytesMax: checkInteger('inlineBytesMax', options.inlineBytesMax, 0, BYTES_MAX),
    payloadBytesMax: checkInteger('payloadBytesMax', options.payloadBytesMax, 1, BYTES_MAX),
  };
  checkTogether(resolved);
  return Object.freeze(resolved);
}

/** A day: longer leases or rechecks are a mistake in units. */
const DURATION_MS_MAX = 86_400_000;
/** Redis' longest string, less what the frame adds. */
const BYTES_MAX = 536_870_912 - 2;
const NAMES: readonly string[] = ['redis', ...Object.keys(DEFAULTS)];
const PREFIX = /^[\w.:@-]{1,64}$/;

function checkName(name: string): void {
  if (NAMES.includes(name)) return;
  const nearest = [...NAMES].sort((a, b) => editDistance(name, a) - editDistance(name, b))[0] ?? '';
  throw misuse('ERR_ONEFLIGHT_OPTION', `options of redisCoordinator to be among ${NAMES.join(', ')}`, `the unknown option ${name.slice(0, 64)}; did you mean ${nearest}?`);
}

function checkRedis(redis: unknown): RedisLike {
  if (isFactory(redis)) return redis;
  return checkClient(redis, 'redis');
}

/** Checks what the user passed or what the user's function returned. @throws TypeError ERR_ONEFLIGHT_OPTION */
export function checkClient(client: unknown, what: string): Redis {
  if (isCluster(client)) throw misuse('ERR_ONEFLIGHT_OPTION', `${what} to be an ioredis Redis (standalone or Sentinel)`, 'an ioredis Cluster, which is not supported yet');
  if (!isClient(client)) throw misuse('ERR_ONEFLIGHT_OPTION', `${what} to be an ioredis Redis or a function that returns one`, describe(client));
  return client;
}

function isFactory(value: unknown): value is () => Redis {
  return typeof value === 'function';
}

function isCluster(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'isCluster' in value && value.isCluster === true;
}

/** By shape and not by class: the user's ioredis may be another copy than ours. */
function isClient(value: unknown): value is Redis {
  return typeof value === 'object' && value !== null && 'duplicate' in value && typeof value.duplicate === 'function' && 'options' in value;
}

function checkPrefix(prefix: unknown): string {
  if (typeof prefix === 'string' && PREFIX.test(prefix)) return prefix;
  throw misuse('ERR_ONEFLIGHT_OPTION', 'prefix to be 1 to 64 letters, digits, and _ - . : @ (braces would move all keys to one shard)', describe(prefix));
}

function checkInteger(name: Exclude<keyof typeof DEFAULTS, 'prefix'>, value: unknown, min: number, max: number): number {
  if (value === undefined) return DEFAULTS[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw misuse('ERR_ONEFLIGHT_OPTION', `${name} to be a whole number from ${min} to ${max}`, describe(value));
}

function checkTogether({ leaseMs, recheckMs, commandTimeoutMs, retainMs, inlineBytesMax, payloadBytesMax }: ResolvedOptions): void {
  if (commandTimeoutMs >= leaseMs) {
    throw misuse('ERR_ONEFLIGHT_OPTION', `commandTimeoutMs to be less than leaseMs (${leaseMs}), or a lease ends before its renewal can fail`, describe(commandTimeoutMs));
  }
  if (retainMs < recheckMs + commandTimeoutMs) {
    throw misuse('ERR_ONEFLIGHT_OPTION', `retainMs to be at least recheckMs + commandTimeoutMs (${recheckMs + commandTimeoutMs}), or an outcome is gone before a recheck finds it`, describe(retainMs));
  }
  if (inlineBytesMax > payloadBytesMax) {
    throw misuse('ERR_ONEFLIGHT_OPTION', `inlineBytesMax to be at most payloadBytesMax (${payloadBytesMax})`, describe(inlineBytesMax));
  }
}

/** How many letters to add, drop or replace to get from one name to the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 0; i < from.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j += 1) {
      const replaced = (row[j] ?? 0) + (from[i]?.toLowerCase() === to[j]?.toLowerCase() ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
