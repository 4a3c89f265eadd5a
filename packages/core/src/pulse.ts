import type { Clock, Timer } from './clock.js';

/** A wait for a coordinator that answers others meanwhile lasts at most this many times the silence that means trouble. */
const SILENCES_MAX = 8;

/**
 * Tells a coordinator that is busy from one that is silent. A reply is given up when nothing at all was heard for a
 * while; as long as other replies arrive, this one is only queued behind them, and to load without the coordinator would
 * turn contention into an outage. A process that was too busy to listen counts that time for nothing.
 */
export class Pulse {
  readonly #clock: Clock;
  readonly #waits = new Map<number, Waits>();
  #heardAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get heardAt(): number {
    return this.#heardAt;
  }

  /** Something arrived from the coordinator. */
  heard(): void {
    this.#heardAt = this.#clock.now();
  }

  /** Calls back once the coordinator has been silent for `silenceMs` from now on, or has put us off too often. */
  afterSilence(silenceMs: number, callback: () => void): Timer {
    let waits = this.#waits.get(silenceMs);
    if (waits === undefined) {
      waits = new Waits(this.#clock, this, silenceMs);
      this.#waits.set(silenceMs, waits);
    }
    return waits.add(callback);
  }
}

/** All that wait for the same length of silence: who came first is due first, so one timer does for all. */
class Waits {
  readonly #clock: Clock;
  readonly #pulse: Pick<Pulse, 'heardAt'>;
  readonly #silenceMs: number;
  readonly #waits = new Set<Wait>();
  #timer: Timer | undefined;
  /** How long in all this process was too busy to listen, or paused, and until when the last time. */
  #lateMs = 0;
  #lateAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, pulse: Pick<Pulse, 'heardAt'>, silenceMs: number) {
    this.#clock = clock;
    this.#pulse = pulse;
    this.#silenceMs = silenceMs;
  }

  add(callback: () => void): Wait {
    const wait = new Wait(this, callback, this.#clock.now(), this.#lateMs);
    this.#waits.add(wait);
    if (this.#timer === undefined) this.#ringIn(this.#silenceMs);
    return wait;
  }

  remove(wait: Wait): void {
    if (!this.#waits.delete(wait) || this.#waits.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #ringIn(delayMs: number): void {
    const dueAt = this.#clock.now() + delayMs;
    this.#timer = this.#clock.setTimer(() => this.#ring(dueAt), delayMs);
  }

  #ring(dueAt: number): void {
    const now = this.#clock.now();
    // Rung late, this process was busy or paused: what arrived meanwhile is only read after this timer.
    if (now - dueAt > this.#silenceMs / 4) {
      this.#lateMs += now - dueAt;
      this.#lateAt = now;
    }
    const leftMs = this.#leftMs(now);
    // At the end one turn of the event loop more: in it the process reads what waits in its sockets.
    if (leftMs > 0) this.#ringIn(leftMs);
    else this.#timer = this.#clock.setTimer(() => this.#decide(now), 0);
  }

  #decide(silentAt: number): void {
    this.#timer = undefined;
    for (const wait of this.#waits) {
      if (this.#leftMsOf(wait, silentAt) > 0) break;
      if (this.#pulse.heardAt >= silentAt && this.#patienceLeftMs(wait, silentAt) > 0) break;
      this.#waits.delete(wait);
      wait.callback();
    }
    // Those who called may have come again.
    if (this.#timer === undefined && this.#waits.size > 0) this.#ringIn(Math.max(0, this.#leftMs(this.#clock.now())));
  }

  /** Until the first of all is due. */
  #leftMs(now: number): number {
    for (const wait of this.#waits) return this.#leftMsOf(wait, now);
    return 0;
  }

  #leftMsOf(wait: Wait, now: number): number {
    const silentSince = Math.max(this.#pulse.heardAt, this.#lateAt, wait.startedAt);
    return Math.min(silentSince + this.#silenceMs - now, this.#patienceLeftMs(wait, now));
  }

  #patienceLeftMs({ startedAt, lateMs }: Wait, now: number): number {
    return SILENCES_MAX * this.#silenceMs - (now - startedAt - (this.#lateMs - lateMs));
  }
}

class Wait implements Timer {
  readonly callback: () => void;
  readonly startedAt: number;
  /** How much lateness had been counted before it began. */
  readonly lateMs: number;
  readonly #waits: Waits;

  constructor(waits: Waits, callback: () => void, startedAt: number, lateMs: number) {
    this.#waits = waits;
    this.callback = callback;
    this.startedAt = startedAt;
    this.lateMs = lateMs;
  }

  cancel(): void {
    this.#waits.remove(this);
  }
}
