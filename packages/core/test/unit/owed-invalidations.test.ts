import { describe, expect, it } from 'vitest';
import type { Collapser } from '../../src/index.js';
import { Owed } from '../../src/owed.js';
import { Repayment } from '../../src/repayment.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster, type Cluster, legs } from '../support/cluster.js';

const KEPT = { ttlMs: 600_000 };

/** Two replicas, of which the second has a value of `k` in the store that the first one made out of date during an outage. */
async function stageWithDebt(change: (replica: Collapser) => Promise<void>): Promise<Cluster & { read: () => Promise<unknown> }> {
  const stage = cluster(2);
  const { replicas, hub, clock } = stage;
  const read = async (): Promise<unknown> => {
    const call = replicas[1]?.run('k', async () => `load ${++loads}`, { ...KEPT, tags: ['shop'] });
    await clock.advance(0);
    return call;
  };
  let loads = 0;
  expect(await read()).toBe('load 1');
  hub.outage(true);
  const failed = Promise.allSettled(replicas.slice(0, 1).map(change));
  await clock.advance(0);
  expect(await failed).toMatchObject([{ reason: { code: 'ERR_ONEFLIGHT_COORDINATOR' } }]);
  expect(replicas[0]?.stats().owed).toBe(1);
  return { ...stage, read };
}

describe('an invalidation that is owed', () => {
  it.each([
    ['of a key', (replica: Collapser) => replica.invalidate('k')],
    ['of a tag', (replica: Collapser) => replica.invalidateTag('shop')],
  ])('%s is sent when the coordinator is back, although nobody asks for it here', async (_what, change) => {
    const { replicas, hub, clock, read, closeAll } = await stageWithDebt(change);
    hub.outage(false);
    await clock.advance(10);
    expect([await read(), replicas[0]?.stats().owed]).toEqual(['load 2', 0]);
    expect(clock.pending).toBe(0);
    await closeAll();
  });

  it('is tried again where nobody tells that the coordinator is back, and each try drops no flight and wakes no watcher', async () => {
    const { replicas, hub, clock, network, closeAll } = await stageWithDebt((replica) => replica.invalidateTag('shop'));
    const stopLosing = network.lose(legs(0, 'request', 'tag'));
    hub.outage(false);
    await clock.advance(10);
    const reads: unknown[] = [];
    const leaves = new AbortController();
    const watching = (async () => {
      for await (const value of replicas[0]?.watch('w', async () => reads.length, { tags: ['shop'], signal: leaves.signal }) ?? [])
        reads.push(value);
    })().catch(() => undefined);
    await clock.advance(3_000); // its first load cannot tell the coordinator either, and goes on without it
    const before = reads.length;
    expect(before).toBe(1);
    await clock.advance(5_000);
    expect([reads.length, replicas[0]?.stats().owed]).toEqual([before, 1]);
    stopLosing();
    await clock.advance(10_000);
    expect(replicas[0]?.stats().owed).toBe(0);
    leaves.abort();
    await watching;
    await closeAll();
  });

  it('is forgotten when its collapser closes, and leaves no timer', async () => {
    const { hub, clock, closeAll } = await stageWithDebt((replica) => replica.invalidate('k'));
    await closeAll();
    hub.outage(false);
    expect(clock.pending).toBe(0);
  });
});

describe('what is owed', () => {
  it('is not forgotten when an earlier debt of the same key is paid', () => {
    const owed = new Owed();
    owed.add('k');
    const sent = owed.debtOf('k');
    owed.add('k');
    owed.remove('k', sent);
    expect(owed.has('k')).toBe(true);
    owed.remove('k', owed.debtOf('k'));
    expect(owed.has('k')).toBe(false);
  });

  it('is remembered for the last 10,000 keys', () => {
    const owed = new Owed();
    for (let key = 0; key < 10_001; key++) owed.add(`k${key}`);
    expect([owed.size, owed.has('k0'), owed.has('k10000')]).toEqual([10_000, false, true]);
  });
});

describe('a repayment', () => {
  it('sends eight at a time with a pause after each lot, until all is paid', async () => {
    const { clock, sent, repayment } = debtor(20);
    repayment.soon();
    await clock.advance(100);
    expect(sent).toEqual([...Array(8).fill(100), ...Array(8).fill(120), ...Array(4).fill(140)].filter((at) => at <= clock.now()));
    await clock.advance(100);
    expect([sent.length, clock.pending]).toEqual([20, 0]);
  });

  it('ends with a lot of which nothing was paid, and tries ever more seldom, half a minute apart at most', async () => {
    const { clock, sent, repayment, setAway } = debtor(20);
    setAway(true);
    repayment.later();
    repayment.later();
    await clock.advance(200_000);
    const tries = [...new Set(sent)];
    expect(sent).toHaveLength(8 * tries.length);
    expect(tries.map((at, index) => at - (tries[index - 1] ?? 0))).toEqual([
      1_000,
      2_000,
      4_000,
      8_000,
      16_000,
      ...tries.slice(5).map(() => 30_000),
    ]);
  });

  it('begins at once, and from the start, when it is told that the coordinator is back, also in the middle of a try', async () => {
    const { clock, sent, repayment, setAway } = debtor(1);
    setAway(true);
    repayment.later();
    await clock.advance(20_000);
    sent.length = 0;
    setAway(false);
    repayment.soon();
    await clock.advance(200);
    expect([sent.length, clock.pending]).toEqual([1, 0]);
    const slow = debtor(1);
    slow.setAway(true);
    slow.repayment.later();
    await slow.clock.advance(999);
    const isTried = slow.clock.advance(1);
    slow.repayment.soon();
    await isTried;
    slow.setAway(false);
    await slow.clock.advance(200);
    expect(slow.sent.length).toBeGreaterThan(0);
  });

  it('sends nothing after it was closed, not even the rest of a round', async () => {
    const { clock, sent, repayment, background } = debtor(20);
    repayment.soon();
    await clock.advance(100);
    repayment.close();
    repayment.later();
    repayment.soon();
    await Promise.all(background);
    await clock.advance(60_000);
    expect([sent.length, clock.pending]).toEqual([8, 0]);
  });
});

/** Debts that are paid, or not, at once; with the times at which each was sent. Randomness is in the middle. */
function debtor(count: number) {
  const clock = new ManualClock();
  const sent: number[] = [];
  const background: Promise<void>[] = [];
  const owed = new Set(Array.from({ length: count }, (_, index) => index));
  let isAway = false;
  const pay = (debt: number) => async () => {
    sent.push(clock.now());
    if (!isAway) owed.delete(debt);
    return !isAway;
  };
  const host = { clock, random: () => 0.5, background: (operation: Promise<void>) => void background.push(operation) };
  const repayment = new Repayment(host, () => Array.from(owed, pay));
  return { clock, sent, background, repayment, setAway: (value: boolean) => (isAway = value) };
}
