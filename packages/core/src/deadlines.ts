import type { Clock, Timer } from './clock.js';

/** Told when its time is over. */
export interface Bounded {
  onDeadline(): void;
}

/**
 * Deadlines by the hundred thousand, most of which nobody reaches. Those of equal length end about in the order in which they
 * began: they wait in one line, behind one timer of the clock, and who joins or leaves the line searches next to nothing.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #lines = new Map<number, Line>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Tells `bounded` once, not before `dueAt`; `lengthMs` is how long it had when it began. */
  start(bounded: Bounded, dueAt: number, lengthMs: number): Timer {
    let line = this.#lines.get(lengthMs);
    if (line === undefined) {
      line = new Line(this.#clock, () => this.#lines.delete(lengthMs));
      this.#lines.set(lengthMs, line);
    }
    const deadline = new Deadline(bounded, dueAt, line);
    line.add(deadline);
    return deadline;
  }
}

class Deadline implements Timer {
  readonly bounded: Bounded;
  readonly dueAt: number;
  /** Between whom it waits: its line alone writes what follows. */
  line: Line | undefined;
  earlier: Deadline | undefined;
  later: Deadline | undefined;

  constructor(bounded: Bounded, dueAt: number, line: Line) {
    this.bounded = bounded;
    this.dueAt = dueAt;
    this.line = line;
  }

  cancel(): void {
    this.line?.remove(this);
  }
}

/** Deadlines in the order in which they are due. */
class Line {
  readonly #clock: Clock;
  readonly #onEmpty: () => void;
  #first: Deadline | undefined;
  #last: Deadline | undefined;
  #timer: Timer | undefined;
  #ringsAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, onEmpty: () => void) {
    this.#clock = clock;
    this.#onEmpty = onEmpty;
  }

  add(deadline: Deadline): void {
    let earlier = this.#last;
    while (earlier !== undefined && earlier.dueAt > deadline.dueAt) earlier = earlier.earlier;
    const later = earlier === undefined ? this.#first : earlier.later;
    this.#link(earlier, deadline);
    this.#link(deadline, later);
    if (deadline.dueAt < this.#ringsAt) this.#ringAt(deadline.dueAt);
  }

  /** Without deadlines no timer keeps the process alive. */
  remove(deadline: Deadline): void {
    const { earlier, later } = deadline;
    deadline.line = undefined;
    this.#link(earlier, later);
    if (this.#first !== undefined) return;
    this.#timer?.cancel();
    this.#onEmpty();
  }

  #link(earlier: Deadline | undefined, later: Deadline | undefined): void {
    if (earlier === undefined) this.#first = later;
    else earlier.later = later;
    if (later === undefined) this.#last = earlier;
    else later.earlier = earlier;
  }

  #ringAt(at: number): void {
    this.#timer?.cancel();
    this.#ringsAt = at;
    this.#timer = this.#clock.setTimer(() => this.#ring(), Math.max(0, at - this.#clock.now()));
  }

  /** The timer was set for one that may have left since: nobody sets it anew for each that leaves. */
  #ring(): void {
    this.#ringsAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    for (let first = this.#first; first !== undefined && first.dueAt <= now; first = this.#first) {
      this.remove(first);
      first.bounded.onDeadline();
    }
    if (this.#first !== undefined) this.#ringAt(this.#first.dueAt);
  }
}
