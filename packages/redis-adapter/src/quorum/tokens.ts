/**
 * Proposes tokens: microseconds of this process's clock, above every token it has seen. Nodes refuse what is not above
 * what they know, so a clock that is wrong costs a round trip and nothing else.
 */
export class Tokens {
  readonly #now: () => number;
  #highest = 0;

  constructor(now: () => number = wallClockUs) {
    this.#now = now;
  }

  next(above: number): number {
    this.#highest = Math.max(this.#now(), this.#highest + 1, above + 1);
    return this.#highest;
  }

  saw(token: number): void {
    this.#highest = Math.max(this.#highest, token);
  }
}

/** Microseconds since 1970. */
export function wallClockUs(): number {
  return Math.floor((performance.timeOrigin + performance.now()) * 1_000);
}
