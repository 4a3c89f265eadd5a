/**
 * Time as core sees it. Core starts no timer and reads no clock but through this, so tests decide when time passes.
 */
export interface Clock {
  /** Milliseconds on a clock that never goes back. Only differences mean anything. */
  now(): number;
  /** Calls `callback` once, not before `delayMs` have passed. */
  setTimer(callback: () => void, delayMs: number): Timer;
}

/** A timer that has not fired yet, or has. */
export interface Timer {
  /** Stops it; does nothing when it has fired or was cancelled before. */
  cancel(): void;
}

/** Longest delay that Node's own timers take (2^31 - 1 ms, about 24.8 days); a longer one would fire at once. */
export const DELAY_MS_MAX = 2_147_483_647;

/** The process's own monotonic clock and timers. */
export const systemClock: Clock = Object.freeze({
  now: () => performance.now(),
  setTimer(callback: () => void, delayMs: number): Timer {
    const handle = setTimeout(callback, Math.min(delayMs, DELAY_MS_MAX));
    return { cancel: () => clearTimeout(handle) };
  },
});

/** The process's randomness, in [0, 1); spreads what would otherwise happen at the same moment on all replicas. */
export const systemRandom = (): number => Math.random();
