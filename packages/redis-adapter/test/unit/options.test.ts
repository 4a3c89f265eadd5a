import { Cluster, Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
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

test.each<[string, unknown, RegExp]>([
  ['no options', undefined, /expected redisCoordinator to be an object, got undefined/],
  ['no redis', {}, /expected redisCoordinator\.redis to be an ioredis Redis .* or a function that returns one, got undefined/],
  ['a URL as redis', { redis: 'redis://localhost' }, /got a string of length 17/],
  ['a cluster', { redis: new Cluster([{ port: 1 }], { lazyConnect: true }) }, /got an ioredis Cluster, which is not supported yet/],
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
])('%s is refused', (_, options, message) => {
  expect(() => redisCoordinator(options as RedisCoordinatorOptions)).toThrow(message);
  expect(() => redisCoordinator(options as RedisCoordinatorOptions)).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_ONEFLIGHT_OPTION' }),
  );
});
