import { checkOptions, describe, misuse, type OptionCheck } from '@oneflight/core';
import type { KeyObject } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { BREAKER_DEFAULTS, type BreakerOptions, checkBreaker, resolveBreaker, type ResolvedBreaker } from './breaker-options.js';
import { checkCompress, compressBytesMin } from './compression.js';
import { FRAME_OVERHEAD_BYTES_MAX } from './frame.js';
import { checkNear, type NearOptions, nearOptions } from './near-options.js';
import { checkSecret, secretKeys } from './signing.js';

/**
 * An ioredis client, single or Cluster, or a function that makes one. It is only read: its settings are copied into
 * connections of our own. A client that the function makes is disconnected once its settings were read.
 */
export type RedisLike = Redis | Cluster | (() => Redis | Cluster);

/** How a {@link redisCoordinator} works. Durations are whole milliseconds. */
export interface RedisCoordinatorOptions {
  readonly redis: RedisLike;
  /** Begins every key and channel: 1 to 64 letters, digits, and `_ - . : @`. @default 'oneflight' */
  readonly prefix?: string;
  /** How long a leader keeps its right without renewing it; it renews each third. At least 100. @default 3_000 ms */
  readonly leaseMs?: number;
  /** How often a follower looks in case a wake-up was lost; it backs off to four times this. At least 10. @default 500 ms */
  readonly recheckMs?: number;
  /** How long Redis may be silent while a reply is due; longer counts as degraded. At least 1, less than `leaseMs`. @default 250 ms */
  readonly commandTimeoutMs?: number;
  /** How long an outcome waits for those who were waiting for it; at least `recheckMs + commandTimeoutMs`. @default 10_000 ms */
  readonly retainMs?: number;
  /** Larger outcomes are fetched by those who wait instead of being published. 0 to `payloadBytesMax`. @default 8_192 bytes, or `payloadBytesMax` if that is less */
  readonly inlineBytesMax?: number;
  /** Larger outcomes do not travel: each replica loads for itself. Up to 512 MiB, which is Redis' own limit. @default 8_388_608 bytes */
  readonly payloadBytesMax?: number;
  /**
   * Compresses larger outcomes where that makes them shorter, from 1,024 bytes on or from `bytesMin`. `inlineBytesMax` is
   * about what travels, `payloadBytesMax` about what it was before. Replicas with and without it understand each other.
   *
   * @default false
   */
  readonly compress?: boolean | { readonly bytesMin: number };
  /**
   * Signs every outcome and refuses those that are not signed with it: at least 16 characters, as random as a password.
   * With several the first signs and all are accepted. docs/security.md says what it protects and how to change it.
   *
   * `undefined` is refused: a missing environment variable must not switch it off.
   * @default no secret: whoever can write to this Redis can answer your callers
   */
  readonly secret?: string | readonly [string, ...string[]];
  /** When Redis counts as away, so that no call waits for it. */
  readonly breaker?: BreakerOptions;
  /**
   * Holds copies of stored values in this process as well: a read that one answers costs no command. Other replicas see an
   * invalidation once its message has arrived; where that is lost, after `maxAgeMs`. docs/caching.md has the window.
   *
   * @default false
   */
  readonly near?: boolean | NearOptions;
}

/** All options, each with a value. */
export interface ResolvedOptions extends Required<Omit<RedisCoordinatorOptions, 'secret' | 'compress' | 'breaker' | 'near'>> {
  /** From how many bytes on outcomes are compressed; Infinity for never. */
  readonly compressBytesMin: number;
  /** Objects, so that nothing that prints options prints a secret. */
  readonly secretKeys: readonly KeyObject[];
  readonly breaker: ResolvedBreaker;
  readonly near: Required<NearOptions> | undefined;
}

export const DEFAULTS = Object.freeze({
  prefix: 'oneflight',
  leaseMs: 3_000,
  recheckMs: 500,
  commandTimeoutMs: 250,
  retainMs: 10_000,
  inlineBytesMax: 8_192,
  payloadBytesMax: 8_388_608,
  compressBytesMin: Number.POSITIVE_INFINITY,
  secretKeys: Object.freeze([]),
  breaker: BREAKER_DEFAULTS,
  near: undefined,
} satisfies Omit<ResolvedOptions, 'redis'>);

/**
 * Checks the options and fills in the defaults.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION
 */
export function resolveOptions(options: RedisCoordinatorOptions, owner = 'redisCoordinator'): ResolvedOptions {
  checkOptions(owner, options, CHECKS);
  checkSecretIsThere(owner, options);
  const payloadBytesMax = options.payloadBytesMax ?? DEFAULTS.payloadBytesMax;
  const resolved = {
    redis:
      typeof options.redis === 'function' ? checkFactory(options.redis, `${owner}.redis`) : checkClient(options.redis, `${owner}.redis`),
    prefix: options.prefix ?? DEFAULTS.prefix,
    leaseMs: options.leaseMs ?? DEFAULTS.leaseMs,
    recheckMs: options.recheckMs ?? DEFAULTS.recheckMs,
    commandTimeoutMs: options.commandTimeoutMs ?? DEFAULTS.commandTimeoutMs,
    retainMs: options.retainMs ?? DEFAULTS.retainMs,
    inlineBytesMax: options.inlineBytesMax ?? Math.min(DEFAULTS.inlineBytesMax, payloadBytesMax),
    payloadBytesMax,
    compressBytesMin: compressBytesMin(options.compress),
    secretKeys: secretKeys(options.secret),
    breaker: resolveBreaker(options.breaker),
    near: nearOptions(options.near),
  };
  checkTogether(owner, resolved);
  return Object.freeze(resolved);
}

/**
 * Checks what the user passed or what the user's function returned, by shape and not by class: the user's ioredis may be
 * another copy than ours.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION
 */
function checkClient(client: unknown, what: string, expected = `${CLIENT}, or a function that returns one`): Redis | Cluster {
  if (isClient(client)) return client;
  // node-redis has much of the same shape.
  const isAnothers = typeof client === 'object' && client !== null && 'duplicate' in client;
  throw misuse('ERR_ONEFLIGHT_OPTION', `${what} to be ${expected}`, isAnothers ? 'a client of another library' : describe(client));
}

/** What a function returns that was given in place of a client. */
export function checkMade(client: unknown): Redis | Cluster {
  return checkClient(client, 'what the redis function returns', CLIENT);
}

function checkFactory<F>(factory: F, what: string): F {
  if (!/^class\b/.test(Function.prototype.toString.call(factory))) return factory;
  throw misuse('ERR_ONEFLIGHT_OPTION', `${what} to be a client, or a function that returns one: () => new Redis(…)`, 'a class');
}

const CLIENT = 'an ioredis Redis (standalone or Sentinel) or Cluster';
/** A day: longer leases or rechecks are a mistake in units. */
const DURATION_MS_MAX = 86_400_000;
/** Redis' longest string, less what the frame adds. */
const BYTES_MAX = 536_870_912 - FRAME_OVERHEAD_BYTES_MAX;
const PREFIX = /^[\w.:@-]{1,64}$/;

const CHECKS: Readonly<Record<keyof RedisCoordinatorOptions, OptionCheck>> = {
  // Needs more than one sentence; checkClient says it.
  redis: () => undefined,
  prefix: (value) =>
    typeof value === 'string' && PREFIX.test(value)
      ? undefined
      : '1 to 64 letters, digits, and _ - . : @ (braces would move all keys to one shard)',
  leaseMs: integer(100, DURATION_MS_MAX),
  recheckMs: integer(10, DURATION_MS_MAX),
  commandTimeoutMs: integer(1, DURATION_MS_MAX),
  retainMs: integer(1, DURATION_MS_MAX),
  inlineBytesMax: integer(0, BYTES_MAX),
  payloadBytesMax: integer(1, BYTES_MAX),
  compress: checkCompress,
  secret: checkSecret,
  breaker: checkBreaker,
  near: checkNear,
};

/** Whole numbers only: PEXPIRE takes no others. */
function integer(min: number, max: number): OptionCheck {
  return (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? undefined
      : `a whole number from ${min} to ${max}`;
}

function isClient(value: unknown): value is Redis | Cluster {
  if (typeof value !== 'object' || value === null || !('duplicate' in value) || !('status' in value)) return false;
  return typeof value.duplicate === 'function' && typeof value.status === 'string' && 'options' in value;
}

/** Elsewhere `undefined` means "not given". Here it is a missing environment variable, and would switch signing off unseen. */
function checkSecretIsThere(owner: string, options: RedisCoordinatorOptions): void {
  if (!Object.hasOwn(options, 'secret') || options.secret !== undefined) return;
  throw misuse('ERR_ONEFLIGHT_OPTION', `${owner}.secret to be a secret, or left out where nothing is to be signed`, 'undefined');
}

function checkTogether(owner: string, resolved: ResolvedOptions): void {
  const { leaseMs, recheckMs, commandTimeoutMs, retainMs, inlineBytesMax, payloadBytesMax } = resolved;
  const refuse = (expected: string, got: number): never => {
    throw misuse('ERR_ONEFLIGHT_OPTION', `${owner}.${expected}`, describe(got));
  };
  if (commandTimeoutMs >= leaseMs)
    refuse(`commandTimeoutMs to be less than leaseMs (${leaseMs}), or a lease ends before its renewal can fail`, commandTimeoutMs);
  const looksMs = recheckMs + commandTimeoutMs;
  if (retainMs < looksMs)
    refuse(`retainMs to be at least recheckMs + commandTimeoutMs (${looksMs}), or an outcome is gone before a recheck finds it`, retainMs);
  if (inlineBytesMax > payloadBytesMax) refuse(`inlineBytesMax to be at most payloadBytesMax (${payloadBytesMax})`, inlineBytesMax);
}
