import { describe, expect, it } from 'vitest';
import type { Timer } from '../../src/index.js';
import { Pulse } from '../../src/pulse.js';
import { ManualClock } from '../../src/testing/index.js';

describe('the pulse of a coordinator', () => {
  it('is gone after a silence of that length', async () => {
    const clock = new ManualClock();
    let silent = 0;
    new Pulse(clock).afterSilence(100, () => silent++);
    await clock.advance(99);
    expect(silent).toBe(0);
    await clock.advance(1);
    expect([silent, clock.pending]).toEqual([1, 0]);
  });

  it('is there as long as something else is heard: a busy coordinator is not a silent one', async () => {
    const clock = new ManualClock();
    const pulse = new Pulse(clock);
    const silentAt: number[] = [];
    pulse.afterSilence(100, () => silentAt.push(clock.now()));
    for (let heard = 0; heard < 4; heard++) {
      await clock.advance(60);
      pulse.heard();
    }
    await clock.advance(1_000);
    expect(silentAt).toEqual([340]);
  });

  it('is given up in the end although others are answered', async () => {
    const clock = new ManualClock();
    const pulse = new Pulse(clock);
    const silentAt: number[] = [];
    pulse.afterSilence(100, () => silentAt.push(clock.now()));
    for (let heard = 0; heard < 40; heard++) {
      await clock.advance(50);
      pulse.heard();
    }
    expect(silentAt).toEqual([800]);
  });

  it('does not count the time in which this process was too busy to listen', () => {
    let now = 0;
    const rings: (() => void)[] = [];
    const setTimer = (callback: () => void): Timer => {
      rings.push(callback);
      return { cancel: () => undefined };
    };
    let silent = 0;
    new Pulse({ now: () => now, setTimer }).afterSilence(100, () => silent++);
    now = 5_000;
    rings[0]?.();
    expect([silent, rings.length]).toEqual([0, 2]);
    now = 5_100;
    rings[1]?.();
    expect([silent, rings.length]).toEqual([0, 3]);
    rings[2]?.();
    expect(silent).toBe(1);
  });

  it('is looked at once more, a turn of the event loop later, because a reply may be waiting to be read', () => {
    let now = 0;
    const rings: (() => void)[] = [];
    const setTimer = (callback: () => void): Timer => {
      rings.push(callback);
      return { cancel: () => undefined };
    };
    let silent = 0;
    const pulse = new Pulse({ now: () => now, setTimer });
    pulse.afterSilence(100, () => silent++);
    now = 100;
    rings[0]?.();
    now = 101;
    pulse.heard();
    rings[1]?.();
    expect([silent, rings.length]).toEqual([0, 3]);
  });

  it('rings no more once its timer is cancelled, also a prolonged one', async () => {
    const clock = new ManualClock();
    const pulse = new Pulse(clock);
    let silent = 0;
    const timer = pulse.afterSilence(100, () => silent++);
    await clock.advance(50);
    pulse.heard();
    await clock.advance(60);
    timer.cancel();
    await clock.advance(1_000);
    expect([silent, clock.pending]).toEqual([0, 0]);
  });
});
