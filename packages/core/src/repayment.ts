import type { Clock, Timer } from './clock.js';

/** So many are sent at the same time, with a pause after each lot: a replica that owes much does not flood the coordinator. */
export const PAY_AT_ONCE = 8;
const PAY_PAUSE_MS = 20;
/** When the coordinator is back, replicas begin at a moment of their own within this time. */
const PAY_SPREAD_MS = 200;
/** Nobody may tell that it is back: it is tried again after this long, and then ever more seldom. */
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;

/** What a repayment needs of its collapser. */
export interface RepaymentHost {
  readonly clock: Clock;
  random(): number;
  /** Takes over an operation that nobody waits for; `close` waits for it. It never rejects. */
  background(operation: Promise<void>): void;
}

/** Pays one debt; resolves with whether it was paid. */
type Payment = () => Promise<boolean>;

/**
 * Sends what is owed beside all calls: soon after the coordinator is back, and now and then where nobody tells of that.
 * A lot of which nothing was paid ends a round, so that a coordinator that is away costs one lot per try.
 */
export class Repayment {
  readonly #host: RepaymentHost;
  /** What is owed now, in the order in which it should be paid. */
  readonly #debts: () => readonly Payment[];
  #retryMs = RETRY_MS;
  #timer: Timer | undefined;
  #isPaying = false;
  /** It came back while a round was under way, which may have failed just before. */
  #isAwaited = false;
  #isClosed = false;
  /** Ends a pause early. */
  #goOn: (() => void) | undefined;

  constructor(host: RepaymentHost, debts: () => readonly Payment[]) {
    this.#host = host;
    this.#debts = debts;
  }

  /** Something is owed. */
  later(): void {
    if (this.#timer === undefined && !this.#isPaying) this.#payIn(this.#retryMs * (0.8 + 0.4 * this.#host.random()));
  }

  /** The coordinator seems to be back. */
  soon(): void {
    this.#retryMs = RETRY_MS;
    this.#isAwaited = this.#isPaying;
    if (this.#isPaying || this.#debts().length === 0) return;
    this.#timer?.cancel();
    this.#payIn(this.#host.random() * PAY_SPREAD_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#goOn?.();
  }

  #payIn(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer = this.#host.clock.setTimer(() => {
      this.#timer = undefined;
      this.#isPaying = true;
      this.#host.background(this.#pay());
    }, delayMs);
  }

  async #pay(): Promise<void> {
    const isPaid = await this.#payAll();
    this.#isPaying = false;
    if (this.#isAwaited) return this.soon();
    this.#retryMs = isPaid ? RETRY_MS : Math.min(2 * this.#retryMs, RETRY_MS_MAX);
    if (this.#debts().length > 0) this.later();
  }

  async #payAll(): Promise<boolean> {
    const debts = this.#debts();
    for (let paid = 0; paid < debts.length; paid += PAY_AT_ONCE) {
      if (paid > 0) await this.#pause();
      if (this.#isClosed) return false;
      const lot = await Promise.all(debts.slice(paid, paid + PAY_AT_ONCE).map((pay) => pay()));
      if (!lot.includes(true)) return false;
    }
    return true;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#host.clock.setTimer(resolve, PAY_PAUSE_MS);
      this.#goOn = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
