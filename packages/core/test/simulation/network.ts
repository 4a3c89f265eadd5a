import type { Leg, Network } from '../../src/testing/index.js';
import type { OperationRecord } from './history.js';
import type { LegFault, Plan } from './plan.js';
import type { Random } from './random.js';
import type { Owner, Timeline } from './timeline.js';

/** What the network asks of, and tells, the run that it is part of. */
export interface NetworkHost {
  readonly timeline: Timeline;
  readonly plan: Plan;
  /** Which replica an inbox belongs to; undefined for the observer, whose messages take no time. */
  ownerOf(inbox: string): Owner | undefined;
  /** Executes a request that has arrived; the legs that it sends belong to the same operation. */
  arrived(leg: Leg, operation: OperationRecord | undefined, deliver: () => void): void;
  /** Legs of one connection overtake each other in this run. */
  reorders(): void;
  /** A fault befell this leg; `untilMs` is how long it may take to show. */
  faulted(leg: Leg, fault: LegFault, untilMs: number): void;
}

/**
 * What lies between the replicas and the server. Each leg takes a while. Legs of one connection keep their order unless a
 * fault delays one or the run reorders; replies and messages come on two connections and overtake each other at will.
 */
export class SimulatedNetwork implements Network {
  /** The operation whose legs are being sent right now. */
  operation: OperationRecord | undefined;
  readonly #host: NetworkHost;
  readonly #random: Random;
  readonly #reorders: boolean;
  readonly #lastArrival = new Map<string, number>();
  readonly #cuts = new Set<Cut>();
  readonly #underwayCount = new Map<Owner | undefined, number>();
  #matching = 0;
  #isHealed = false;

  constructor(host: NetworkHost) {
    this.#host = host;
    this.#random = host.plan.random.fork();
    this.#reorders = host.plan.profile === 'storm' && this.#random.chance(0.4);
    if (this.#reorders) host.reorders();
  }

  /** Legs that will still arrive somewhere. */
  get underway(): number {
    let count = 0;
    for (const [owner, legs] of this.#underwayCount) if (owner?.state !== 'gone') count += legs;
    return count;
  }

  send(leg: Leg, deliver: () => void): void {
    const inbox = leg.kind === 'request' ? leg.from : leg.to;
    const replica = this.#host.ownerOf(inbox);
    if (replica === undefined) return deliver();
    const operation = leg.kind === 'message' ? undefined : this.operation;
    for (const arrivesAt of this.#arrivals(leg, `${inbox} ${leg.kind}`)) {
      // A request that was sent travels on although its sender is paused or gone.
      const owner = leg.kind === 'request' ? undefined : replica;
      this.#count(owner, 1);
      this.#host.timeline.schedule(arrivesAt - this.#host.timeline.now(), owner, () => {
        this.#count(owner, -1);
        this.#host.arrived(leg, operation, deliver);
      });
    }
  }

  /** Loses every leg of one kind from or to one replica until the function that it returns is called. */
  cut(replica: Owner, kind: Leg['kind']): () => void {
    const cut = { replica, kind };
    this.#cuts.add(cut);
    return () => this.#cuts.delete(cut);
  }

  /** No more faults. */
  heal(): void {
    this.#isHealed = true;
    this.#cuts.clear();
  }

  #arrivals(leg: Leg, connection: string): number[] {
    const { timeline, plan } = this.#host;
    const usual = timeline.now() + this.#random.whole(0, plan.legMsMax);
    const inOrder = this.#reorders ? usual : Math.max(usual, (this.#lastArrival.get(connection) ?? 0) + 0.001);
    this.#lastArrival.set(connection, inOrder);
    const fault = this.#isHealed ? undefined : this.#faultOf(leg);
    switch (fault) {
      case undefined:
        return [inOrder];
      case 'lose':
        this.#host.faulted(leg, fault, inOrder);
        return [];
      case 'duplicate':
      case 'delay': {
        const late = inOrder + this.#random.pick([this.#random.whole(100, 600), this.#random.whole(200, 2 * plan.timings.leaseMs)]);
        this.#host.faulted(leg, fault, late);
        return fault === 'delay' ? [late] : [inOrder, late];
      }
    }
  }

  #faultOf(leg: Leg): LegFault | undefined {
    for (const { replica, kind } of this.#cuts) {
      if (kind === leg.kind && this.#host.ownerOf(kind === 'request' ? leg.from : leg.to) === replica) return 'lose';
    }
    const { legFaults } = this.#host.plan;
    if (legFaults.how === 'nth') {
      const fits = legFaults.kind === leg.kind && legFaults.op === (leg.kind === 'message' ? leg.message.kind : leg.op);
      return fits && this.#matching++ === legFaults.nth ? legFaults.fault : undefined;
    }
    for (const fault of ['lose', 'duplicate', 'delay'] as const) {
      if (this.#random.chance(legFaults.chances[fault] ?? 0)) return fault;
    }
    return undefined;
  }

  #count(owner: Owner | undefined, change: number): void {
    this.#underwayCount.set(owner, (this.#underwayCount.get(owner) ?? 0) + change);
  }
}

interface Cut {
  readonly replica: Owner;
  readonly kind: Leg['kind'];
}
