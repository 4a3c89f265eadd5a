import { createCollapser, type Collapser, type CollapserOptions } from '../../src/index.js';
import { expect } from 'vitest';
import {
  endedCalls,
  memoryHub,
  type ManualClock,
  type MemoryCoordinator,
  type MemoryHub,
  type MemoryHubOptions,
  type Leg,
} from '../../src/testing/index.js';

/** Several replicas over one memory hub, and a network that a test can hold up leg by leg. */
export interface Cluster {
  readonly hub: MemoryHub;
  readonly clock: ManualClock;
  readonly network: HeldNetwork;
  readonly replicas: readonly Collapser[];
  readonly coordinators: readonly MemoryCoordinator[];
  /** Lets everything that is under way arrive; no time passes. */
  settleDown(): Promise<void>;
  /** Closes them. Each call must have been counted in exactly one way to end. */
  closeAll(): Promise<void>;
}

/** Makes a cluster. Randomness is off: jitter is 0. */
export function cluster(
  size: number,
  hubOptions: Omit<MemoryHubOptions, 'clock' | 'network'> = {},
  options: CollapserOptions = {},
): Cluster {
  const network = new HeldNetwork();
  const hub = memoryHub({ ...hubOptions, network });
  const coordinators = Array.from({ length: size }, () => hub.coordinator());
  const replicas = coordinators.map((coordinator) => createCollapser({ coordinator, random: () => 0, ...options }));
  return {
    hub,
    clock: hub.clock,
    network,
    replicas,
    coordinators,
    settleDown: () => hub.clock.advance(0),
    async closeAll() {
      network.deliverAll();
      const closed = Promise.all(replicas.map((replica) => replica.close({ drainMs: 0 })));
      await hub.clock.advance(2_000);
      await closed;
      for (const replica of replicas) {
        const { totals } = replica.stats();
        expect(endedCalls(totals), `calls that ended, of ${JSON.stringify(totals)}`).toBe(totals.calls);
      }
    },
  };
}

/** Delivers promptly, but for the legs that a test told it to hold or lose. */
class HeldNetwork {
  #rules: { readonly fits: (leg: Leg) => boolean; readonly held: (() => void)[]; loses: boolean }[] = [];

  send(leg: Leg, deliver: () => void): void {
    const rule = this.#rules.find(({ fits }) => fits(leg));
    if (rule === undefined) queueMicrotask(deliver);
    else if (!rule.loses) rule.held.push(deliver);
  }

  /** Holds legs that fit. The function that it returns delivers what was held and holds no more. */
  hold(fits: (leg: Leg) => boolean): () => void {
    const rule = { fits, held: [] as (() => void)[], loses: false };
    this.#rules.push(rule);
    return () => {
      this.#rules = this.#rules.filter((other) => other !== rule);
      for (const deliver of rule.held.splice(0)) deliver();
    };
  }

  /** Loses legs that fit until the function that it returns is called. */
  lose(fits: (leg: Leg) => boolean): () => void {
    const rule = { fits, held: [], loses: true };
    this.#rules.push(rule);
    return () => {
      this.#rules = this.#rules.filter((other) => other !== rule);
    };
  }

  deliverAll(): void {
    for (const rule of this.#rules.splice(0)) for (const deliver of rule.held.splice(0)) deliver();
  }
}

/** Legs of one replica, by number from 0, of one kind, and of one operation. */
export function legs(replica: number, kind: Leg['kind'], op?: string): (leg: Leg) => boolean {
  const inbox = `replica-${replica + 1}`;
  return (leg) => {
    const mine = leg.kind === 'request' ? leg.from === inbox : leg.to === inbox;
    return mine && leg.kind === kind && (op === undefined || (leg.kind === 'message' ? leg.message.kind === op : leg.op === op));
  };
}
