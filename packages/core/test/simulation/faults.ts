import type { Leg, MemoryHub } from '../../src/testing/index.js';
import { isRunning, leavesWork, type CallRecord } from './history.js';
import { keyName, KEYS } from './keys.js';
import type { SimulatedNetwork } from './network.js';
import type { Fault, LegFault } from './plan.js';
import type { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';

export interface FaultsHost {
  readonly network: SimulatedNetwork;
  readonly hub: Pick<MemoryHub, 'checkpoint' | 'outage' | 'wipe'>;
  inSlot(slot: number): SimulatedReplica | undefined;
  start(slot: number): void;
}

/** What goes wrong in a run, what that may cost, and when it is over. */
export class Faults {
  readonly #run: Run;
  readonly #host: FaultsHost;
  /** Keys of which the server has gone back to a moment at which nobody led. */
  readonly #forgetful = new Set<string>();
  readonly #faultsOf = new Map<string, number>();
  readonly #undo = new Set<() => void>();
  /** Keys of which a fault may have left a lease or a waiter behind until it expires. */
  readonly #excused = new Set<string>();
  #troubleUntil = 0;
  #isHealed = false;

  constructor(run: Run, host: FaultsHost) {
    this.#run = run;
    this.#host = host;
  }

  /** Whether one may have left a lease or a waiter of the key behind. */
  excuses(key: string): boolean {
    return this.#excused.has(key);
  }

  /** Whether the server had forgotten, until now, that somebody led the key. */
  forgot(key: string): boolean {
    return this.#forgetful.delete(key);
  }

  /** The last moment at which one may have shown. */
  lastTrouble(): number {
    return this.#undo.size > 0 ? this.#run.now() : this.#troubleUntil;
  }

  /** One that was planned happens, unless all is healed already. */
  strike(fault: Fault): void {
    if (this.#isHealed) return;
    const replica = 'slot' in fault ? this.#host.inSlot(fault.slot) : undefined;
    if ('slot' in fault && (replica === undefined || replica.state !== 'running' || replica.closing !== 'no')) return;
    this.#run.history.note('fault', `${fault.kind} ${replica?.name ?? ''}`);
    this.#run.history.countFault(fault.kind);
    this.blame(undefined, fault.kind === 'outage' ? this.#run.plan.replicas + 1 : 1);
    this.#trouble(this.#run.now());
    if (replica === undefined) this.#serverFault(fault);
    else this.#replicaFault(fault, replica);
  }

  #replicaFault(fault: Fault, replica: SimulatedReplica): void {
    switch (fault.kind) {
      case 'crash':
        this.#crash(replica, fault.restartMs);
        return;
      case 'pause':
        replica.state = 'paused';
        return this.#undoAfter(fault.forMs, () => {
          replica.state = 'running';
          this.#run.timeline.release(replica, fault.keepsOrder);
        });
      case 'deaf':
        for (const load of this.#run.history.loads) if (load.replica === replica.name && isRunning(load)) this.blame(load.key);
        replica.isDeaf = true;
        replica.coordinator.deafen();
        return this.#undoAfter(fault.forMs, () => {
          replica.isDeaf = false;
          if (replica.state !== 'gone') replica.coordinator.listen();
        });
      case 'cut':
        return this.#undoAfter(fault.forMs, this.#host.network.cut(replica, fault.leg));
      case 'outage':
      case 'rollback':
      case 'wipe':
    }
  }

  #serverFault(fault: Fault): void {
    if (fault.kind === 'outage') {
      this.#excuseAll();
      this.#host.hub.outage(true);
      this.#undoAfter(fault.forMs, () => this.#host.hub.outage(false));
    }
    if (fault.kind === 'rollback') {
      this.#excuseAll();
      const forget = this.#host.hub.checkpoint();
      const seq = this.#run.history.note('server', 'is copied');
      this.#undoAfter(fault.lagMs, () => {
        forget();
        for (const key of KEYS) if (!this.#knowsOf(key, seq)) this.#forgetful.add(key);
      });
    }
    if (fault.kind === 'wipe') this.#host.hub.wipe();
  }

  #crash(replica: SimulatedReplica, restartMs: number): void {
    this.#excuseAll();
    replica.state = 'gone';
    replica.coordinator.crash();
    for (const call of this.#run.history.pending) if (call.replica === replica.name) this.#run.history.pending.delete(call);
    for (const key of KEYS) this.#run.history.touch(key);
    this.#run.timeline.schedule(restartMs, undefined, () => this.#host.start(replica.slot));
  }

  /** The fault ends after this long, or when everything heals. */
  #undoAfter(delayMs: number, undo: () => void): void {
    const once = (): void => {
      if (!this.#undo.delete(once)) return;
      this.#run.history.note('fault', 'is over');
      this.#trouble(this.#run.now());
      undo();
    };
    this.#undo.add(once);
    this.#run.timeline.schedule(delayMs, undefined, once);
  }

  /** Ends them all; there are no more. */
  healAll(): void {
    this.#run.history.note('fault', 'all is healed');
    this.#host.network.heal();
    for (const undo of this.#undo) undo();
    this.#isHealed = true;
    this.#trouble(this.#run.now());
  }

  /** A fault may cost the key, or all, that many loads. */
  blame(key: string | undefined, weight = 1): void {
    for (const one of key === undefined ? KEYS : [key]) this.#faultsOf.set(one, this.of(one) + weight);
  }

  /** Whether the server, gone back to that moment, still knows that a flight of the key is in progress. */
  #knowsOf(key: string, seq: number): boolean {
    const newest = this.#run.history.loadsOf(key).findLast(({ token, grantedSeq }) => token !== undefined && grantedSeq < seq);
    if (newest?.token === undefined || this.#run.history.floorAt(key, Infinity) >= newest.token) return false;
    return this.#run.history.flights.get(newest.flightId)?.closed.every((closed) => closed < newest.grantedSeq || closed > seq) ?? false;
  }

  #excuseAll(): void {
    for (const key of KEYS) this.#excused.add(key);
  }

  #trouble(untilMs: number): void {
    this.#troubleUntil = Math.max(this.#troubleUntil, untilMs);
  }

  /** How many may have cost the key a load so far. */
  of(key: string): number {
    return this.#faultsOf.get(key) ?? 0;
  }

  /**
   * An invalidation takes the lease from its holder, so a waiter that rechecks leads a load of its own; an outcome that is
   * for nobody, or for one alone, leaves its work to the next waiter.
   */
  allowanceOf(key: string): number {
    const passedOn = this.#run.history.loadsOf(key).filter((load) => leavesWork(load)).length;
    return this.of(key) + (this.#run.history.floors.get(key)?.length ?? 0) + passedOn;
  }

  /** One befell this leg; `untilMs` is how long it may take to show. */
  befell(leg: Leg, fault: LegFault, untilMs: number): void {
    const what = leg.kind === 'message' ? leg.message.kind : leg.op;
    this.#run.history.note('network', `${fault}s the ${leg.kind} ${what} ${leg.kind === 'message' ? `to ${leg.to}` : (leg.id ?? '')}`);
    this.#run.history.countFault(`${fault} ${leg.kind}`);
    const key = leg.key === undefined ? undefined : keyName(leg.key);
    this.blame(key);
    this.#trouble(untilMs);
    const leavesBehind = leg.kind === 'request' && (what === 'settle' || what === 'release' || fault !== 'lose');
    // Executed after its flight was over, and nobody hears of it: the lease that it got ends by itself.
    const isOrphan =
      leg.kind === 'reply' && what === 'claim' && ![...this.#run.history.pending].some((call) => this.#mayWaitFor(call, leg.id, leg.to));
    if (key !== undefined && (leavesBehind || isOrphan)) this.#excused.add(key);
  }

  /** Where the flight of a call is not known, any call of the replica may be in it. */
  #mayWaitFor(call: CallRecord, flightId: string | undefined, inbox: string): boolean {
    if (call.flightId !== undefined || !this.#run.plan.mixesFreshness) return call.flightId === flightId;
    return this.#run.replica(call.replica)?.inbox === inbox;
  }
}
