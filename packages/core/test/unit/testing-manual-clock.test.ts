import { expect, it } from 'vitest';
import { ManualClock } from '../../src/testing/index.js';

it('stands still until it is advanced', async () => {
  const clock = new ManualClock(5);
  const fired: string[] = [];
  clock.setTimer(() => fired.push('at 10'), 5);
  await clock.advance(4);
  expect([clock.now(), fired]).toEqual([9, []]);
  await clock.advance(1);
  expect([clock.now(), fired]).toEqual([10, ['at 10']]);
});

it('fires timers by deadline, and those of one moment in the order in which they were set', async () => {
  const clock = new ManualClock();
  const fired: [string, number][] = [];
  for (const [name, delayMs] of [
    ['c', 30],
    ['a', 10],
    ['d', 30],
    ['b', 20],
  ] as const)
    clock.setTimer(() => fired.push([name, clock.now()]), delayMs);
  await clock.advance(100);
  expect(fired).toEqual([
    ['a', 10],
    ['b', 20],
    ['c', 30],
    ['d', 30],
  ]);
  expect(clock.now()).toBe(100);
});

it('fires a timer that another one sets, if it falls due in the same advance', async () => {
  const clock = new ManualClock();
  const fired: number[] = [];
  clock.setTimer(() => {
    fired.push(clock.now());
    clock.setTimer(() => fired.push(clock.now()), 10);
    clock.setTimer(() => fired.push(clock.now()), 11);
  }, 10);
  await clock.advance(20);
  expect([fired, clock.pending]).toEqual([[10, 20], 1]);
});

it('runs chains of promises of any length before, between and after timers', async () => {
  const clock = new ManualClock();
  const log: string[] = [];
  const after = async (steps: number, what: string): Promise<void> => {
    for (let step = 0; step < steps; step += 1) await Promise.resolve();
    log.push(what);
  };
  void after(1_000, 'before');
  clock.setTimer(() => {
    log.push('first');
    void after(1_000, 'between');
  }, 1);
  clock.setTimer(() => {
    log.push('second');
    void after(1_000, 'after');
  }, 1);
  await clock.advance(1);
  expect(log).toEqual(['before', 'first', 'between', 'second', 'after']);
});

it('counts armed timers, so that a leak shows', async () => {
  const clock = new ManualClock();
  const cancelled = clock.setTimer(() => expect.unreachable(), 10);
  const fired = clock.setTimer(() => undefined, 10);
  expect(clock.pending).toBe(2);
  cancelled.cancel();
  cancelled.cancel();
  expect(clock.pending).toBe(1);
  await clock.advance(10);
  fired.cancel();
  expect(clock.pending).toBe(0);
});

it('clamps a delay that no real timer takes', async () => {
  const clock = new ManualClock();
  const fired: number[] = [];
  clock.setTimer(() => fired.push(clock.now()), -1);
  clock.setTimer(() => fired.push(clock.now()), Infinity);
  await clock.advance(0);
  expect([fired, clock.pending]).toEqual([[0], 1]);
});

it('refuses to go back, and to fire without end', async () => {
  const clock = new ManualClock();
  await expect(clock.advance(-1)).rejects.toThrow(RangeError);
  await expect(clock.advance(Number.NaN)).rejects.toThrow(RangeError);
  let firings = 0;
  const again = (): void => {
    firings += 1;
    clock.setTimer(again, 0);
  };
  again();
  await expect(clock.advance(1)).rejects.toThrow('without end');
  expect(firings).toBeGreaterThan(1_000);
});

it('passes on what a timer throws', async () => {
  const clock = new ManualClock();
  clock.setTimer(() => {
    throw new Error('from the timer');
  }, 1);
  await expect(clock.advance(1)).rejects.toThrow('from the timer');
});
