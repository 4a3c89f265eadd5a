import { once } from 'node:events';
import { type Collapser, createCollapser } from '@oneflight/core';
import { freePort, startRedis, type TestServer } from '@oneflight/testkit';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { redisCoordinator, type RedisCoordinatorOptions } from '../../src/index.js';

/* What somebody sees who is new and has made an ordinary mistake: the one warning, and the error of a call that asked for it. */
let server: TestServer;
let guarded: TestServer;
let nowhere: number;
let admin: Redis;
const collapsers: Collapser[] = [];

beforeAll(async () => {
  [server, guarded] = await Promise.all([startRedis(), startRedis({ args: ['--requirepass', 'right'] })]);
  nowhere = await freePort();
  admin = new Redis(server.url);
  await admin.acl('SETUSER', 'noscripts', 'on', '>pw', '~*', '&*', '+@all', '-@scripting');
  await admin.acl('SETUSER', 'deaf', 'on', '>pw', '~*', 'resetchannels', '+@all');
  await admin.acl('SETUSER', 'elsewhere', 'on', '>pw', '~other:*', '&*', '+@all');
});

afterEach(async () => {
  await Promise.all(collapsers.splice(0).map((collapser) => collapser.close({ drainMs: 0 })));
});

afterAll(async () => {
  admin?.disconnect();
  await Promise.all([server?.stop(), guarded?.stop()]);
});

function make(redis: () => Redis, more: Partial<RedisCoordinatorOptions> = {}): Collapser {
  const collapser = createCollapser({ coordinator: redisCoordinator({ redis, ...more }) });
  collapsers.push(collapser);
  return collapser;
}

const at = (port: number, more: Pick<RedisOptions, 'username' | 'password'> = {}, host = '127.0.0.1') => new Redis(port, host, more);

describe('the first call', () => {
  it.each<[string, () => Redis, string, RegExp]>([
    ['an address where nobody listens', () => at(nowhere), 'unavailable', /^the subscription to Redis is not there: connect ECONNREFUSED /],
    [
      'a host that does not exist',
      () => at(6379, {}, 'redis.invalid'),
      'unavailable',
      /not there: (getaddrinfo \w+ redis\.invalid|not there within 1000 ms)\. /,
    ],
    [
      'a password that is wrong',
      () => at(guarded.port, { password: 'wrong' }),
      'unavailable',
      /not there: WRONGPASS .*[^.]\. Nothing was sent/,
    ],
    ['no password where there is one', () => at(guarded.port), 'unavailable', /not there: NOAUTH /],
    ['a user that may run no scripts', () => at(server.port, { username: 'noscripts', password: 'pw' }), 'refused', /NOPERM .*'evalsha'/],
    ['a user that may not subscribe', () => at(server.port, { username: 'deaf', password: 'pw' }), 'unavailable', /NOPERM .*channels/],
    ['a user of other keys', () => at(server.port, { username: 'elsewhere', password: 'pw' }), 'refused', /NOPERM .*keys/],
  ])('with %s is answered, and a warning says why it was not collapsed with others', async (_what, redis, reason, message) => {
    const collapser = make(redis);
    const warned = once(process, 'warning');
    expect(await collapser.flight('k', () => 'answer')).toMatchObject({ value: 'answer', source: 'degraded' });
    const [warning] = (await warned) as [Error & { code?: string }];
    expect(warning.code).toBe('ONEFLIGHT_DEGRADED');
    expect(warning.message).toMatch(/^oneflight 'default': .*Calls go on, collapsed inside this process only/);
    expect(warning.message.replace("oneflight 'default': ", '')).toMatch(message);
    expect(warning.message).not.toMatch(/\.\.|wrong|pw/);
    const failure = await collapser.run('other', () => 'never', { whenDegraded: 'reject' }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason });
    expect((failure as Error).message).toMatch(message);
  });

  it('on a read-only replica says so, and the next one that its connection is being made anew', async () => {
    await admin.replicaof('127.0.0.1', String(nowhere));
    try {
      const collapser = make(() => at(server.port));
      const failures = await Promise.all(
        [1, 2].map((key) => collapser.run(['k', key], () => 'never', { whenDegraded: 'reject' }).catch((error: unknown) => String(error))),
      );
      expect(failures.join()).toContain("READONLY You can't write against a read only replica");
      await expect
        .poll(() => collapser.run('k', () => 'never', { whenDegraded: 'reject' }).catch((error: unknown) => String(error)), {
          timeout: 5_000,
        })
        .toMatch(/READONLY|is being made anew|circuit to Redis is open/);
    } finally {
      await admin.replicaof('NO', 'ONE');
    }
  });

  it('with a secret that others do not have is answered by a load of its own, and a warning says why', async () => {
    const redis = () => at(server.port);
    const [without, signed] = [make(redis), make(redis, { secret: 'a secret of 16 characters' })];
    let finish = (_: string): void => {};
    const led = without.run('k', () => new Promise<string>((resolve) => (finish = resolve)));
    await expect.poll(() => without.stats().loading).toBe(1);
    const warned = once(process, 'warning');
    const follows = new Promise<void>((resolve) => {
      signed.listen((event) => {
        if (event.type === 'election' && event.result === 'lost') resolve();
      });
    });
    const followed = signed.flight('k', () => 'own');
    await follows;
    finish('led');
    expect([await led, (await followed).value]).toEqual(['led', 'own']);
    const [warning] = (await warned) as [Error & { code?: string }];
    expect([warning.code, warning.message]).toEqual(['ONEFLIGHT_REJECTED', expect.stringContaining('(bad_signature)')]);
  });
});
