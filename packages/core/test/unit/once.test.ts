import { describe, expect, it } from 'vitest';
import { createCollapser } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { cluster } from '../support/cluster.js';

describe('once (lesson 7: a side effect that must happen once per cluster)', () => {
  it('runs the effect once per period, whichever replica is asked and how often', async () => {
    const { replicas, clock, closeAll } = cluster(3);
    let alerts = 0;
    const alert = (): void => void alerts++;
    const all = async () => {
      const calls = replicas.flatMap((replica) => [1, 2].map(() => replica.once('low stock', alert, { ttlMs: 1_000 })));
      await clock.advance(0);
      return (await Promise.all(calls)).toSorted();
    };
    expect([await all(), alerts]).toEqual([['ran', ...Array(5).fill('skipped')], 1]);
    await clock.advance(999);
    expect([await all(), alerts]).toEqual([Array(6).fill('skipped'), 1]);
    await clock.advance(1);
    expect([await all(), alerts]).toEqual([['ran', ...Array(5).fill('skipped')], 2]);
    await closeAll();
  });

  it('works in one process, tells the effect its key, and keeps apart from run of the same key', async () => {
    const collapser = createCollapser({ clock: new ManualClock() });
    const keys: unknown[] = [];
    const effect = ({ key }: { key: unknown }): void => void keys.push(key);
    expect(await collapser.once(['alert', 7], effect, { ttlMs: 10 })).toBe('ran');
    expect(await collapser.run(['alert', 7], () => 'a value', { ttlMs: 10 })).toBe('a value');
    expect(await collapser.once(['alert', 7], effect, { ttlMs: 10 })).toBe('skipped');
    expect(keys).toEqual([['alert', 7]]);
  });

  it("lets the next caller try when the effect fails: the failure is its own caller's", async () => {
    const { replicas, clock, closeAll } = cluster(2);
    let runs = 0;
    const effect = (): void => {
      runs++;
      if (runs === 1) throw new Error('mail server away');
    };
    const calls = replicas.map((replica) => replica.once('k', effect, { ttlMs: 1_000 }));
    const ends = Promise.allSettled(calls);
    await clock.advance(0);
    expect((await ends).map((end) => (end.status === 'fulfilled' ? end.value : end.reason.message))).toEqual(['mail server away', 'ran']);
    await closeAll();
  });

  it('is run again by another replica when its runner dies before it is done', async () => {
    const { replicas, coordinators, clock, closeAll } = cluster(2);
    let runs = 0;
    void replicas[0]?.once('k', () => new Promise(() => void runs++), { ttlMs: 60_000 }).catch(() => undefined);
    await clock.advance(0);
    const waits = replicas[1]?.once('k', () => void runs++, { ttlMs: 60_000 });
    await clock.advance(0);
    coordinators[0]?.crash();
    await clock.advance(500);
    expect([await waits, runs]).toEqual(['ran', 2]);
    await closeAll();
  });

  it('happens once per process and period while the coordinator is away', async () => {
    const { replicas, hub, clock, closeAll } = cluster(2);
    hub.outage(true);
    let runs = 0;
    const call = async () => {
      const calls = replicas.map((replica) => replica.once('k', () => void runs++, { ttlMs: 1_000 }));
      await clock.advance(0);
      return Promise.all(calls);
    };
    expect([await call(), await call(), runs]).toEqual([['ran', 'ran'], ['skipped', 'skipped'], 2]);
    hub.outage(false);
    await clock.advance(1_000);
    expect((await call()).toSorted()).toEqual(['ran', 'skipped']);
    await closeAll();
  });

  it('refuses a missing period, and an effect that is no function', async () => {
    const once = createCollapser().once.bind(createCollapser()) as (...args: unknown[]) => Promise<unknown>;
    await expect(once('k', () => 1, {})).rejects.toMatchObject({
      code: 'ERR_ONEFLIGHT_OPTION',
      message: 'expected options.ttlMs to be a number of milliseconds: how long the effect is not repeated, got undefined',
    });
    await expect(once('k', () => 1)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_OPTION' });
    await expect(once('k', () => 1, { ttlMs: 0 })).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_OPTION' });
    await expect(once('k', 'mail', { ttlMs: 1 })).rejects.toMatchObject({
      code: 'ERR_ONEFLIGHT_LOADER',
      message: 'expected an effect: a function, got a string of length 4',
    });
  });
});
