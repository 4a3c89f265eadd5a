import { DELAY_MS_MAX, type Clock, type Timer } from '../clock.js';

/**
 * A clock that stands still until a test moves it, so that the test and not the machine decides what happens when.
 */
export class ManualClock implements Clock {
  #nowMs: number;
  /** Ordered by deadline, then by insertion. */
  readonly #armed: ArmedTimer[] = [];

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  /** Timers that are armed and have neither fired nor been cancelled: 0 when nothing leaks. */
  get pending(): number {
    return this.#armed.length;
  }

  now(): number {
    return this.#nowMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { deadlineMs: this.#nowMs + Math.min(Math.max(delayMs, 0), DELAY_MS_MAX), callback };
    this.#armed.splice(this.#placeFor(timer), 0, timer);
    return { cancel: () => this.#disarm(timer) };
  }

  /**
   * Moves time on by `ms` and fires what falls due, timers of one moment in the order in which they were set. Before,
   * between and after the timers everything that promises have pending is run, so a test sees a settled world.
   * `advance(0)` only does that.
   *
   * @throws RangeError when `ms` is negative or not finite, Error when timers of one moment keep setting each other.
   *   What a timer's callback throws is passed on.
   */
  async advance(ms: number): Promise<void> {
    if (!Number.isFinite(ms) || ms < 0) throw new RangeError(`expected a finite number of milliseconds, not below 0, got ${ms}`);
    const targetMs = this.#nowMs + ms;
    await drain();
    let firedAtOnce = 0;
    for (let due = this.#nextDue(targetMs); due !== undefined; due = this.#nextDue(targetMs)) {
      firedAtOnce = due.deadlineMs > this.#nowMs ? 1 : firedAtOnce + 1;
      if (firedAtOnce > FIRED_AT_ONCE_MAX)
        throw new Error(`timers set each other without end at ${this.#nowMs} ms; one of them needs a delay`);
      this.#nowMs = Math.max(this.#nowMs, due.deadlineMs);
      due.callback();
      await drain();
    }
    // Another advance may be under way and further along; time never goes back.
    this.#nowMs = Math.max(this.#nowMs, targetMs);
  }

  #nextDue(targetMs: number): ArmedTimer | undefined {
    const first = this.#armed[0];
    if (first === undefined || first.deadlineMs > targetMs) return undefined;
    return this.#armed.shift();
  }

  #placeFor(timer: ArmedTimer): number {
    // Sequences only grow, so the place is behind every timer with the same deadline.
    // Behind every timer with the same deadline, so that timers of one moment fire in the order in which they were set.
    let low = 0;
    let high = this.#armed.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#armed[middle];
      if (other !== undefined && other.deadlineMs <= timer.deadlineMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #disarm(timer: ArmedTimer): void {
    const place = this.#armed.indexOf(timer);
    if (place !== -1) this.#armed.splice(place, 1);
  }
}

interface ArmedTimer {
  readonly deadlineMs: number;
  readonly callback: () => void;
}

/** A set of timers that fires this often without time moving is a loop; a simulation stays far below it. */
const FIRED_AT_ONCE_MAX = 100_000;

/** The real one, taken at import: a test may replace the global timers by fakes that never run. */
const nextTurn = setImmediate;

/**
 * Lets all promise reactions run, and those that they cause. A fixed number of `await`s would have to guess how long
 * the longest chain is; a turn of the event loop empties the whole microtask queue however long it grows. The second
 * turn is for code that passes through `setImmediate` itself.
 */
async function drain(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise<void>((resolve) => nextTurn(resolve));
}
