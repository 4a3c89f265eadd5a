import type { Clock } from '../clock.js';
import type { CallOptions } from '../options.js';
import type { Waiter } from '../waiters.js';

/** The options of a call as they were given. */
export type GivenOptions = Readonly<Record<string, unknown>> | undefined;

/**
 * Callers who join a flight at the same moment, with equal options: one waiter stands for all of them, and they share its
 * promise, so one more costs a count. Their patience is counted from the end of that moment: no caller gives up early.
 */
export class Group {
  readonly promise: Promise<unknown>;
  readonly #waiter: Waiter;
  readonly #given: GivenOptions;
  readonly #givenCount: number;
  #isOpen = true;

  constructor(promise: Promise<unknown>, waiter: Waiter, given: GivenOptions) {
    this.promise = promise;
    this.#waiter = waiter;
    this.#given = given && { ...given };
    this.#givenCount = Object.keys(given ?? {}).length;
  }

  /** Whether a caller who gives these options may come along, into a flight that takes `callersMax`. */
  takes(given: GivenOptions, callersMax: number): boolean {
    const { line } = this.#waiter;
    return this.#isOpen && line !== undefined && line.callers < callersMax && this.#wantsTheSame(given);
  }

  /**
   * The options are compared with a copy: their owner may change them between two calls. What is in them by identity:
   * equal functions and arrays may be made anew for each call, and then each has a promise of its own.
   */
  #wantsTheSame(given: GivenOptions): boolean {
    if (given === undefined || this.#given === undefined) return given === this.#given;
    if (typeof given !== 'object' || given === null) return false;
    let count = 0;
    for (const name in given) {
      if (given[name] !== this.#given[name] || !(name in this.#given)) return false;
      count++;
    }
    return count === this.#givenCount;
  }

  /** One more caller, who waits for `promise`. */
  add(): void {
    this.#waiter.line?.grow(this.#waiter);
  }

  /** The moment is over. */
  seal(now: number): void {
    this.#isOpen = false;
    this.#waiter.joinedAt = now;
  }
}

/** Ends the moment of each group: one timer for all groups of that moment. */
export class Groups {
  readonly #clock: Clock;
  readonly #open: Group[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  open(promise: Promise<unknown>, waiter: Waiter, given: GivenOptions): Group {
    const group = new Group(promise, waiter, given);
    this.#open.push(group);
    if (this.#open.length === 1) this.#clock.setTimer(() => this.#sealAll(), 0);
    return group;
  }

  #sealAll(): void {
    const now = this.#clock.now();
    for (const group of this.#open.splice(0)) group.seal(now);
  }
}

/** Whether callers with these options may share a promise: none of them can leave, be let go, or be answered alone. */
export function mayShare({ signal, isolate, early, freshness, shareErrors, mayBePrivate }: CallOptions): boolean {
  const areAnsweredAlike = isolate === 'none' && early === undefined && freshness === 'join' && shareErrors === true;
  return signal === undefined && !mayBePrivate && areAnsweredAlike;
}
