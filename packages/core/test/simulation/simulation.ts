import { memoryHub, type Leg, type MemoryHub } from '../../src/testing/index.js';
import { checkClosed, checkDebts, checkEnd, checkExpired, checkLeftovers, checkTotals } from './at-rest.js';
import { Callers } from './callers.js';
import { Checks, type Violation } from './checks.js';
import { Faults } from './faults.js';
import { History, type OperationRecord } from './history.js';
import { Invalidations } from './invalidations.js';
import { keyName } from './keys.js';
import { Loads } from './loads.js';
import { SimulatedNetwork, type NetworkHost } from './network.js';
import { makePlan, type Action, type LegFault, type Plan } from './plan.js';
import { Recorder } from './recorder.js';
import { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';
import { silenceWarnings } from './silence-warnings.js';
import { Timeline, type Owner } from './timeline.js';

/** How one run went. */
export interface Report {
  readonly seed: number;
  readonly profile: Plan['profile'];
  readonly violation: Violation | undefined;
  /** The same whenever the same happened. */
  readonly hash: string;
  readonly steps: number;
  readonly calls: number;
  readonly loads: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly trace: readonly string[];
}

/** Runs one seed: replicas of the real core on simulated time, until everything that was planned is over and healed. */
export async function simulate(seed: number): Promise<Report> {
  return new Simulation(makePlan(seed)).run();
}

/** No call of a plan lives longer than this after the last fault: load limits and takeovers add up to far less. */
const PATIENCE_MS = 120_000;
/** Longer than the server keeps the floor of an invalidation, the longest-lived of its keys. */
const RETENTION_MS = 11 * 60_000;
const STEPS_MAX = 200_000;

/** The course of a run, and the middle where its parts meet. */
class Simulation implements NetworkHost, Run {
  readonly plan: Plan;
  readonly timeline: Timeline;
  readonly history: History;
  readonly checks: Checks;
  readonly replicas: SimulatedReplica[] = [];
  readonly network: SimulatedNetwork;
  readonly hub: MemoryHub<ReturnType<typeof serverClock>>;
  readonly #faults: Faults;
  readonly #loads: Loads;
  readonly #callers: Callers;
  readonly #invalidations: Invalidations;
  readonly #recorder: Recorder;
  readonly #slots: (SimulatedReplica | undefined)[] = [];
  #isEnding = false;
  #steps = 0;
  #created = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.timeline = new Timeline(plan.random.fork());
    this.history = new History(() => this.timeline.now());
    this.checks = new Checks(this);
    this.network = new SimulatedNetwork(this);
    const clock = serverClock(this.timeline);
    this.hub = memoryHub({ clock, network: this.network, inlineBytesMax: plan.inlineBytesMax, ...plan.timings });
    this.#faults = new Faults(this, this);
    this.#loads = new Loads(this, this.#faults, this);
    this.#callers = new Callers(this, this.#loads);
    this.#invalidations = new Invalidations(this);
    this.#recorder = new Recorder(this, this);
    this.hub.coordinator().connect({ namespace: 'observer', receive: (message) => this.#recorder.observe(message) });
  }

  async run(): Promise<Report> {
    const restore = silenceWarnings();
    try {
      await this.#play();
    } finally {
      restore();
    }
    const { history, plan, checks } = this;
    return {
      ...{ seed: plan.seed, profile: plan.profile, violation: checks.violation, hash: history.hash, steps: this.#steps },
      ...{ calls: history.calls.length, loads: history.loads.length, faults: history.faults, trace: history.lines },
    };
  }

  // ---- The course of a run ------------------------------------------------------------------------------------------

  async #play(): Promise<void> {
    for (let slot = 0; slot < this.plan.replicas; slot++) this.start(slot);
    for (const action of this.plan.actions) this.timeline.schedule(action.at, undefined, () => this.#act(action));
    await this.#runUntil(() => this.now() >= this.plan.untilMs, this.plan.untilMs);
    this.#faults.healAll();
    await this.#runUntil(
      () => this.#isQuiet() && this.#live().every(({ collapser }) => collapser.stats().owed === 0),
      this.now() + PATIENCE_MS,
    );
    checkDebts(this, this.#live());
    for (const call of this.history.pending) {
      if (this.replica(call.replica)?.state !== 'gone') this.checks.fail('I2 deadlines', `call ${call.id} never ended`);
    }
    await this.#close();
  }

  async #close(): Promise<void> {
    this.#isEnding = true;
    for (const replica of this.#live()) checkTotals(this, replica);
    const closed = this.#live().map((replica) => this.#closeReplica(replica, 0));
    await this.#runUntil(() => false, this.now() + 5_000);
    await Promise.race([Promise.all(closed), Promise.resolve()]);
    checkEnd(this);
    await this.#runUntil(() => false, this.now() + RETENTION_MS);
    checkExpired(this, this.hub.keys());
  }

  async #runUntil(isOver: () => boolean, limitMs: number): Promise<void> {
    while (this.checks.violation === undefined) {
      const next = this.timeline.nextAt;
      if (next > this.now()) {
        this.checks.beforeTimeMoves();
        this.#checkLeftovers();
        if (isOver() || next > limitMs) break;
      }
      if (++this.#steps > STEPS_MAX) this.checks.fail('I2 deadlines', 'the run does not end');
      await this.timeline.step();
      for (const load of this.#loads.takeAborted()) this.checks.loadAborted(load);
    }
    if (this.checks.violation === undefined)
      this.timeline.skipTo(limitMs === Infinity ? this.now() : Math.min(limitMs, this.timeline.nextAt));
  }

  #isQuiet(): boolean {
    return (
      this.history.pending.size === 0 &&
      this.network.underway === 0 &&
      this.#live().every((replica) => replica.state === 'running' && replica.collapser.stats().flights === 0)
    );
  }

  #checkLeftovers(): void {
    if (!this.#isQuiet() || this.replicas.some(({ closing }) => closing === 'closing')) return;
    checkLeftovers(
      this,
      this.#live(),
      this.hub.keys().filter(({ key }) => !this.#faults.excuses(keyName(key))),
    );
  }

  #act(action: Action): void {
    switch (action.kind) {
      case 'call':
        return this.#onReplica(action.slot, (replica) => this.#callers.calls(replica, action));
      case 'invalidate':
        return this.#onReplica(action.slot, (replica) => void this.#invalidations.invalidate(replica, action.key));
      case 'close':
        return this.#onReplica(action.slot, (replica) => {
          void this.#closeReplica(replica, action.drainMs).then(() => this.start(action.slot));
        });
      case 'crash':
      case 'pause':
      case 'deaf':
      case 'cut':
      case 'outage':
      case 'rollback':
      case 'wipe':
        this.#faults.strike(action);
    }
  }

  /** A paused replica does it when it runs again. */
  #onReplica(slot: number, act: (replica: SimulatedReplica) => void): void {
    const replica = this.#slots[slot];
    if (replica === undefined || replica.state === 'gone') return;
    this.timeline.schedule(0, replica, () => {
      if (replica.isUp) act(replica);
    });
  }

  // ---- Replicas -----------------------------------------------------------------------------------------------------

  start(slot: number): void {
    if (this.#isEnding) return;
    const name = `R${slot}.${++this.#created}`;
    const replica = new SimulatedReplica(this.#recorder, name, slot, this.hub.coordinator(), this.plan.random.fork());
    this.replicas.push(replica);
    this.#slots[slot] = replica;
    this.history.note(name, 'starts');
  }

  async #closeReplica(replica: SimulatedReplica, drainMs: number): Promise<void> {
    this.history.note(replica.name, `closes, drainMs ${drainMs}`);
    replica.closing = 'closing';
    await replica.collapser.close({ drainMs });
    replica.closing = 'closed';
    this.history.note(replica.name, 'is closed');
    checkClosed(this, replica);
  }

  replica(name: string): SimulatedReplica | undefined {
    return this.replicas.find((replica) => replica.name === name);
  }

  inSlot(slot: number): SimulatedReplica | undefined {
    return this.#slots[slot];
  }

  ownerOf(inbox: string): Owner | undefined {
    return this.replicas.find((replica) => replica.inbox === inbox);
  }

  #live(): SimulatedReplica[] {
    return this.replicas.filter((replica) => replica.state !== 'gone' && replica.closing === 'no');
  }

  // ---- What the network tells ---------------------------------------------------------------------------------------

  arrived(leg: Leg, operation: OperationRecord | undefined, deliver: () => void): void {
    this.#recorder.arrived(leg, operation, deliver);
  }

  faulted(leg: Leg, fault: LegFault, untilMs: number): void {
    this.#faults.befell(leg, fault, untilMs);
  }

  reorders(): void {
    this.history.countFault('reorder');
  }

  // ---- What the parts ask of each other -----------------------------------------------------------------------------

  now(): number {
    return this.timeline.now();
  }

  executed(): number {
    return this.hub.operations.length;
  }

  named(replica: SimulatedReplica, key: string, flightId: string): void {
    this.#callers.name(replica, key, flightId);
  }

  invalidated(replica: SimulatedReplica, key: string, floor: number): void {
    this.#invalidations.replied(replica, key, floor);
  }

  grantedSeq(key: string, token: number | undefined): number | undefined {
    return this.#recorder.grantedSeq(key, token);
  }

  faultsOf(key: string): number {
    return this.#faults.of(key);
  }

  allowanceOf(key: string): number {
    return this.#faults.allowanceOf(key);
  }

  lastActivity(key: string): number {
    return this.history.lastActivity(key);
  }

  lastTrouble(): number {
    return this.#faults.lastTrouble();
  }
}

function serverClock(timeline: Timeline) {
  return {
    now: () => timeline.now(),
    setTimer: (callback: () => void, delayMs: number) => timeline.schedule(delayMs, undefined, callback),
  };
}
