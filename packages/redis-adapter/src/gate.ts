import { CoordinatorError } from '@oneflight/core';

/** How long a gate may be opening. */
export interface Patience {
  /** At the start: connecting takes longer than a command, and a process that has just started is busy. */
  readonly firstMs: number;
  /** After a loss. */
  readonly againMs: number;
}

/**
 * Whether operations may be sent now. While it is opening they wait, but not longer than its patience in total; once an
 * attempt is known to have failed they are refused at once, so that no request waits for a server that is away.
 */
export class Gate {
  readonly #what: string;
  readonly #patience: Patience;
  readonly #waiting = new Set<Waiting>();
  #state: 'opening' | 'open' | 'shut' = 'opening';
  #cause: unknown;
  #deadline: NodeJS.Timeout | undefined;

  constructor(what: string, patience: Patience) {
    this.#what = what;
    this.#patience = patience;
    this.#wait(patience.firstMs);
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isShut(): boolean {
    return this.#state === 'shut';
  }

  /**
   * Waits until it is open.
   *
   * @throws CoordinatorError `unavailable` when it is shut, or is shut meanwhile.
   */
  async pass(): Promise<void> {
    if (this.#state === 'open') return;
    if (this.#state === 'shut') throw this.#refusal();
    await new Promise<void>((resolve, reject) => this.#waiting.add({ resolve, reject }));
  }

  open(): void {
    this.#leaveOpening('open');
    for (const { resolve } of this.#takeWaiting()) resolve();
  }

  shut(cause?: unknown): void {
    this.#leaveOpening('shut');
    this.#cause = cause;
    for (const { reject } of this.#takeWaiting()) reject(this.#refusal());
  }

  /** An attempt has begun that may succeed soon. */
  reopen(): void {
    this.#leaveOpening('opening');
    this.#wait(this.#patience.againMs);
  }

  /** Resolves when it is no longer opening. */
  async settled(): Promise<void> {
    await this.pass().catch(() => {});
  }

  /** A timer that rings late means that this process was busy: what arrived meanwhile is only read after it. */
  #wait(patienceMs: number, triesLeft = LATE_TRIES_MAX): void {
    const dueAt = performance.now() + patienceMs;
    const ring = () => {
      const isLate = performance.now() - dueAt > patienceMs / 4;
      if (isLate && triesLeft > 0) this.#wait(patienceMs, triesLeft - 1);
      else this.shut(new Error(`not there within ${patienceMs} ms`));
    };
    this.#deadline = setTimeout(ring, patienceMs).unref();
  }

  #leaveOpening(state: 'opening' | 'open' | 'shut'): void {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#state = state;
  }

  #takeWaiting(): Waiting[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }

  #refusal(): CoordinatorError {
    const why = this.#cause instanceof Error ? `: ${this.#cause.message.replace(/\.$/, '')}` : '';
    return new CoordinatorError('unavailable', `${this.#what} is not there${why}. Nothing was sent; it is tried again in the background`, {
      cause: this.#cause,
    });
  }
}

const LATE_TRIES_MAX = 4;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: CoordinatorError) => void;
}
