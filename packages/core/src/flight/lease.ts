import type { Claimant } from '../claimant.js';
import type { Timer } from '../clock.js';
import type { CacheWrite, Outcome, Renewal } from '../coordinator.js';
import type { Bounded } from '../deadlines.js';
import type { FlightHost } from '../flight-host.js';
import type { Waiter } from '../waiters.js';
import type { Landed, Outcomes } from './outcomes.js';

/** Told what a renewal said: held, and whether anybody on any replica waits, or lost. */
export type OnRenewal = (lease: Lease, renewal: Renewal) => void;

/** A leader's right to load a key, as long as it is kept; it ends by a settle or a release. */
export class Lease implements Bounded {
  readonly token: number;
  readonly #host: FlightHost;
  readonly #claimant: Claimant;
  readonly #outcomes: Outcomes;
  #onRenewal: OnRenewal | undefined;
  /** When any tag had last been invalidated before the load began. */
  #tagTime = 0;
  #timer: Timer | undefined;

  constructor(host: FlightHost, claimant: Claimant, outcomes: Outcomes, token: number) {
    this.#host = host;
    this.#claimant = claimant;
    this.#outcomes = outcomes;
    this.token = token;
  }

  /** Renews it each third of its time, until it is lost or `stop` is called, and tells what each renewal said. */
  keep(onRenewal: OnRenewal): void {
    this.#onRenewal = onRenewal;
    this.#renewLater();
  }

  /** Renews it now: the reply also tells whether anybody on any replica waits. Never rejects. */
  async renew(): Promise<void> {
    const onRenewal = this.#onRenewal;
    this.#timer?.cancel();
    try {
      const renewal = await this.#claimant.renew(this.token);
      if (renewal.state === 'detached') this.stop();
      onRenewal?.(this, renewal);
    } catch {
      // Out of reach: the lease may end and another replica may load too. The load here goes on for those who wait here.
    }
    this.#renewLater();
  }

  onDeadline(): void {
    void this.renew();
  }

  stop(): void {
    this.#onRenewal = undefined;
    this.#timer?.cancel();
  }

  /** Before a load whose outcome may carry tags: notes what the tag clock says. Never rejects. */
  async readTagTime(): Promise<void> {
    this.#tagTime = await this.#claimant.tagTime();
  }

  /** Ends the flight for everybody who waits elsewhere, by the end of the leader's load. Resolves with the key's floor then. */
  settle(end: Landed, leader: Waiter, cache: CacheWrite | undefined, tags: readonly string[]): Promise<number | undefined> {
    return this.settleAs(this.#outcomes.encode(end, leader), cache, tags);
  }

  settleAs(outcome: Outcome, cache: CacheWrite | undefined, tags: readonly string[] = []): Promise<number | undefined> {
    this.#host.report.settled(this.#claimant.id, outcome.kind === 'unshareable' ? 0 : outcome.bytes.byteLength);
    if (tags.length === 0) return this.#claimant.settle(this.token, outcome, cache);
    const tagged = { tags: tags.map((tag) => this.#host.tagName(tag)), since: this.#tagTime };
    return this.#claimant.settle(this.token, outcome, cache, tagged);
  }

  /** Gives it up: a waiter elsewhere leads next. */
  release(failed: boolean): void {
    this.#claimant.release(failed);
  }

  #renewLater(): void {
    if (this.#onRenewal === undefined) return;
    this.#timer?.cancel();
    const everyMs = this.#claimant.timings.leaseMs / 3;
    this.#timer = this.#host.deadlines.start(this, this.#host.clock.now() + everyMs, everyMs);
  }
}
