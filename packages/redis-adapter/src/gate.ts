import { CoordinatorError } from '@oneflight/core';

/**
 * Whether operations may be sent now. While it is opening they wait, but not longer than its patience in total; once an
 * attempt is known to have failed they are refused at once, so that no request waits for a server that is away.
 */
export class Gate {
  readonly #what: string;
  readonly #patienceMs: number;
  readonly #waiting = new Set<Waiting>();
  #state: 'opening' | 'open' | 'shut' = 'opening';
  #cause: unknown;
  #deadline: NodeJS.Timeout | undefined;

  constructor(what: string, patienceMs: number) {
    this.#what = what;
    this.#patienceMs = patienceMs;
    this.reopen();
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
    this.#deadline = setTimeout(() => this.shut(new Error(`not there within ${this.#patienceMs} ms`)), this.#patienceMs).unref();
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
    const why = this.#cause instanceof Error ? `: ${this.#cause.message}` : '';
    return new CoordinatorError('unavailable', `${this.#what} is not there${why}. Nothing was sent; it is tried again in the background`, { cause: this.#cause });
  }
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: CoordinatorError) => void;
}
