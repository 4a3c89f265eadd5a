import { type Clock, systemClock } from '@oneflight/core';

/**
 * A clock that stands still until a test puts it forward: each time by a little more than it says, so that an age in whole
 * seconds is the same however slow the machine is. Timers ring in real time. `advance` returns how far it went.
 */
export function movingClock(): Clock & { advance(ms: number): number } {
  let now = systemClock.now();
  return {
    now: () => now,
    setTimer: (callback, delayMs) => systemClock.setTimer(callback, delayMs),
    advance(ms) {
      const farther = ms > 0 ? ms + A_LITTLE_MS : 0;
      now += farther;
      return farther;
    },
  };
}

const A_LITTLE_MS = 400;
