import { type Clock, systemClock } from '@oneflight/core';

/** The process's clock, which a test can put forward. Timers ring in real time. */
export function movingClock(): Clock & { advance(ms: number): void } {
  let aheadMs = 0;
  return {
    now: () => systemClock.now() + aheadMs,
    setTimer: (callback, delayMs) => systemClock.setTimer(callback, delayMs),
    advance(ms) {
      aheadMs += ms;
    },
  };
}
