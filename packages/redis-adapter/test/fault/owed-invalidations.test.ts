import { type Collapser, createCollapser } from '@oneflight/core';
import { startProxy, type TcpProxy, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import type { ReplicaProcess } from '../support/fleet.js';
import { setStage, type Stage } from '../support/stage.js';

/*
 * One replica changes something and cannot tell Redis; nobody asks it for that again. Another one, a process that has the
 * value from the store, sees the change soon after Redis is back.
 */
const NAME = 'fleet';
/** From the end of the fault until another replica sees the change: most of it is the time until Redis is looked for. */
const SEEN_MS_MAX = 8_000;
const KEPT = { ttlMs: 600_000 };

let stage: Stage;
let link: TcpProxy;
let admin: Redis;
let changer: Collapser;
let other: ReplicaProcess;

beforeEach(async () => {
  stage = await setStage();
  link = await startProxy({ target: stage.server });
  admin = new Redis(stage.server.url);
  admin.on('error', () => undefined);
  changer = createCollapser({ name: NAME, coordinator: redisCoordinator({ redis: () => new Redis(link.url) }) });
  [other] = (await stage.fleet(1)) as [ReplicaProcess];
});

afterEach(async () => {
  stage.server.resume();
  await link.resume();
  await changer.close({ drainMs: 0 });
  admin.disconnect();
  await stage.close();
  await link.stop();
});

const FAULTS: readonly { readonly name: string; readonly begin: () => unknown; readonly end: () => unknown }[] = [
  { name: 'was frozen', begin: () => stage.server.pause(), end: () => stage.server.resume() },
  { name: 'refused its connections', begin: () => link.refuse(), end: () => link.resume() },
  { name: 'was behind a black hole', begin: () => link.pause(), end: () => link.resume() },
  { name: 'was a read-only replica', begin: () => admin.replicaof('127.0.0.1', '1'), end: () => admin.replicaof('NO', 'ONE') },
];

describe('an invalidation that could not be sent, when Redis is back', () => {
  it.each(FAULTS)('and $name, is seen by another replica although nobody asks for the key here', async ({ begin, end }) => {
    await seen('key', 1, { runOptions: KEPT });
    await seen('tagged', 1, { runOptions: { ...KEPT, tags: ['shop'] } });
    await changer.peek('key'); // connected
    await begin();
    const codes = await Promise.all([changer.invalidate('key'), changer.invalidateTag('shop')].map(codeOf));
    expect([codes, changer.stats().owed]).toEqual([['ERR_ONEFLIGHT_COORDINATOR', 'ERR_ONEFLIGHT_COORDINATOR'], 2]);
    await end();
    const endedAt = performance.now();
    await waitFor(() => changer.stats().owed === 0, { timeoutMs: SEEN_MS_MAX, what: 'what is owed to be paid' });
    const paidMs = performance.now() - endedAt;
    await seen('key', 2, { runOptions: KEPT });
    await seen('tagged', 2, { runOptions: KEPT });
    console.log(`paid ${Math.round(paidMs)} ms after it was back`);
  });

  it('is sent with many others a few at a time, and each once', async () => {
    const keys = Array.from({ length: 200 }, (_, index) => `k${index}`);
    await changer.peek('key');
    await link.refuse();
    await Promise.allSettled(keys.map((key) => changer.invalidate(key)));
    expect(changer.stats().owed).toBe(200);
    const sent: number[] = [];
    const stop = changer.listen((event) => {
      if (event.type === 'operation' && event.operation === 'invalidate' && event.error === undefined) sent.push(performance.now());
    });
    await link.resume();
    await waitFor(() => changer.stats().owed === 0, { timeoutMs: SEEN_MS_MAX + 2_000, what: 'what is owed to be paid' });
    stop();
    expect(sent).toHaveLength(200);
    // Lots of 8 with a pause of 20 ms after each: 25 lots take half a second at least.
    expect((sent.at(-1) ?? 0) - (sent[0] ?? 0)).toBeGreaterThan(24 * 20 - 50);
  });
});

/** What the other replica gets for a key: the outcome of its load of this number. */
async function seen(key: string, number: number, more: { readonly runOptions: object }): Promise<void> {
  const [answer] = await other.burst({ key, calls: 1, loadMs: 1, ...more });
  expect([key, answer?.load?.number]).toEqual([key, number]);
}

async function codeOf(change: Promise<void>): Promise<unknown> {
  return change.then(
    () => 'told',
    (error: unknown) => (error as { code?: unknown }).code,
  );
}
