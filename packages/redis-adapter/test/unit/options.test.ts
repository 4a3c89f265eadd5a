import { Redis } from 'ioredis';
import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { quorumCoordinator, redisCoordinator } from '../../src/index.js';
import { DEFAULTS, type RedisCoordinatorOptions, resolveOptions } from '../../src/options.js';

const redis = new Redis({ lazyConnect: true });

test('every option but redis has a default', () => {
  expect(resolveOptions({ redis })).toEqual({ redis, ...DEFAULTS });
});

test('a client that is only passed is not connected', () => {
  redisCoordinator({ redis });
  expect(redis.status).toBe('wait');
});

test('inlineBytesMax follows a smaller payloadBytesMax when it is not given', () => {
  expect(resolveOptions({ redis, payloadBytesMax: 100 }).inlineBytesMax).toBe(100);
});

test('compression is from 1,024 bytes on unless told otherwise', () => {
  expect(resolveOptions({ redis, compress: true }).compressBytesMin).toBe(1_024);
  expect(resolveOptions({ redis, compress: { bytesMin: 0 } }).compressBytesMin).toBe(0);
  expect(resolveOptions({ redis, compress: false }).compressBytesMin).toBe(Number.POSITIVE_INFINITY);
});

test('no error and no resolved option shows a secret', () => {
  const secrets: readonly [string, ...string[]] = ['hunter2 hunter2 hunter2', 'hunter2'];
  expect(inspect(resolveOptions({ redis, secret: secrets[0] }).secretKeys, { depth: 9, showHidden: true })).not.toContain('hunter2');
  let message = '';
  try {
    redisCoordinator({ redis, secret: secrets });
  } catch (error) {
    message = inspect(error);
  }
  expect(message).toContain('ERR_ONEFLIGHT_OPTION');
  expect(message).not.toContain('hunter2');
});

test.each<[string, unknown, RegExp]>([
  ['no options', undefined, /expected redisCoordinator to be an object, got undefined/],
  ['no redis', {}, /expected redisCoordinator\.redis to be an ioredis Redis .* or a function that returns one, got undefined/],
  ['a URL as redis', { redis: 'redis://localhost' }, /got a string of length 17/],
  ['a client of another library', { redis: { duplicate: () => {}, options: {}, isOpen: false } }, /got a client of another library/],
  ['the class of clients', { redis: Redis }, /expected redisCoordinator\.redis to be a client, or .* \(\) => new Redis\(…\), got a class/],
  ['a misspelt name', { redis, leaseMS: 1 }, /the unknown option 'leaseMS'; did you mean 'leaseMs'\?/],
  [
    'a lease of the wrong type',
    { redis, leaseMs: '3s' },
    /redisCoordinator\.leaseMs to be a whole number from 100 to 86400000, got a string of length 2/,
  ],
  ['a lease that is too short', { redis, leaseMs: 99 }, /leaseMs to be a whole number from 100/],
  ['part of a millisecond', { redis, recheckMs: 10.5 }, /recheckMs to be a whole number from 10 to 86400000, got the number 10.5/],
  ['no time for a command', { redis, commandTimeoutMs: 0 }, /commandTimeoutMs to be a whole number from 1/],
  ['a prefix with braces', { redis, prefix: '{a}' }, /prefix to be 1 to 64 letters, digits, and _ - \. : @ \(braces/],
  ['an empty prefix', { redis, prefix: '' }, /got an empty string/],
  [
    'a command that may outlast the lease',
    { redis, leaseMs: 200 },
    /commandTimeoutMs to be less than leaseMs \(200\).*, got the number 250/,
  ],
  ['outcomes that are gone before a recheck', { redis, retainMs: 749 }, /retainMs to be at least recheckMs \+ commandTimeoutMs \(750\)/],
  [
    'an inline limit above the payload limit',
    { redis, inlineBytesMax: 11, payloadBytesMax: 10 },
    /inlineBytesMax to be at most payloadBytesMax \(10\)/,
  ],
  [
    'a secret that is too short',
    { redis, secret: 'hunter2-hunter2' },
    /secret to be a string of at least 16 characters.*, got a string of length 15/,
  ],
  [
    'a secret whose environment variable is missing',
    { redis, secret: undefined },
    /secret to be a secret, or left out where nothing is to be signed, got undefined/,
  ],
  [
    'an empty list of secrets',
    { redis, secret: [] },
    /secret to be a string .* or a list of such strings of which the first signs, got an array of length 0/,
  ],
  ['a short secret in a list', { redis, secret: ['correct horse battery', 'hunter2'] }, /got an array of length 2/],
  ['a secret that is no text', { redis, secret: Buffer.alloc(32) }, /secret to be a string/],
  [
    'compression of the wrong type',
    { redis, compress: 6 },
    /compress to be a boolean or \{ bytesMin: a whole number of bytes \}, got the number 6/,
  ],
  ['compression with a misspelt option', { redis, compress: { minBytes: 1 } }, /compress to be a boolean or/],
  ['compression from part of a byte on', { redis, compress: { bytesMin: 0.5 } }, /compress to be a boolean or/],
  ['a near layer that is no object', { redis, near: 1 }, /near to be a boolean or an object, got the number 1/],
  ['a near layer with a misspelt option', { redis, near: { maxBytes: 1 } }, /redisCoordinator\.near .* 'maxBytes'/],
  ['a near layer of no size', { redis, near: { bytesMax: 0 } }, /near\.bytesMax to be a whole number from 1024 to/],
  ['a near layer without time', { redis, near: { maxAgeMs: 0 } }, /near\.maxAgeMs to be a whole number from 1 to/],
  ['a breaker that is no object', { redis, breaker: true }, /breaker to be an object, got true/],
  [
    'a breaker with a misspelt option',
    { redis, breaker: { failureMax: 3 } },
    /redisCoordinator\.breaker .* 'failureMax'; did you mean 'failuresMax'\?/,
  ],
  ['a ratio above one', { redis, breaker: { ratioMax: 50 } }, /breaker\.ratioMax to be a number above 0 and up to 1, got the number 50/],
  ['a maximum below the first look', { redis, breaker: { halfOpenMaxMs: 500 } }, /halfOpenMaxMs is at least its halfOpenAfterMs \(1000\)/],
])('%s is refused', (_, options, message) => {
  expect(() => redisCoordinator(options as RedisCoordinatorOptions)).toThrow(message);
  expect(() => redisCoordinator(options as RedisCoordinatorOptions)).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_ONEFLIGHT_OPTION' }),
  );
});

test('an option of a quorum is named as one of a quorum', () => {
  const nodes = [1, 2, 3].map(() => new Redis({ lazyConnect: true })) as [Redis, Redis, Redis];
  expect(() => quorumCoordinator({ nodes, leaseMs: 99 })).toThrow(/expected quorumCoordinator\.leaseMs to be/);
});
