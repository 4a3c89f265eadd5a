import type { Claim, ClaimRequest, HolderRequest, LoadContext, Message, Renewal, Settlement } from '../../src/index.js';
import { canonicalKey, hashKey } from '../../src/key.js';
import { endedCalls, memoryHub, type Leg, type MemoryHub, type OperationName } from '../../src/testing/index.js';
import { Checks, type CheckedRun, type Violation } from './checks.js';
import {
  highest,
  History,
  isRunning,
  leavesWork,
  type CallEnd,
  type CallRecord,
  type LoadRecord,
  type OperationRecord,
} from './history.js';
import { SimulatedNetwork, type NetworkHost } from './network.js';
import { makePlan, type Action, type CallPlan, type Fault, type LegFault, type Plan } from './plan.js';
import { SimulatedReplica, type ReplicaHost } from './replica.js';
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

class Simulation implements NetworkHost, ReplicaHost, CheckedRun {
  readonly plan: Plan;
  readonly timeline: Timeline;
  readonly history: History;
  readonly replicas: SimulatedReplica[] = [];
  readonly #network: SimulatedNetwork;
  readonly #hub: MemoryHub<SimulatedReplica | ReturnType<typeof serverClock>>;
  readonly #checks: Checks;
  readonly #slots: (SimulatedReplica | undefined)[] = [];
  readonly #keyOf = new Map<string, string>();
  /** The newest flight of a key on a replica: the one that a call joins if it starts none. */
  readonly #newest = new Map<string, string>();
  /** Keys of which the server has gone back to a moment at which nobody led. */
  readonly #forgetful = new Set<string>();
  readonly #unnamed = new Set<string>();
  readonly #grants = new Map<string, number>();
  readonly #activity = new Map<string, number>();
  readonly #faultsOf = new Map<string, number>();
  readonly #undo = new Set<() => void>();
  /** Keys of which a fault may have left a lease or a waiter behind until it expires. */
  readonly #excused = new Set<string>();
  #troubleUntil = 0;
  #healed = false;
  #isEnding = false;
  #steps = 0;
  #created = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.timeline = new Timeline(plan.random.fork());
    this.history = new History(() => this.timeline.now());
    this.#checks = new Checks(this);
    this.#network = new SimulatedNetwork(this);
    this.#hub = memoryHub({
      clock: serverClock(this.timeline),
      network: this.#network,
      inlineBytesMax: plan.inlineBytesMax,
      ...plan.timings,
    });
    // Hears each invalidation at the moment at which the server executes it.
    this.#hub.coordinator().connect({ namespace: 'observer', receive: (message) => this.#observe(message) });
  }

  async run(): Promise<Report> {
    const restore = [silenceWarnings()];
    try {
      await this.#play();
    } finally {
      for (const undo of restore) undo();
    }
    const { history, plan } = this;
    return {
      seed: plan.seed,
      profile: plan.profile,
      violation: this.#checks.violation,
      hash: history.hash,
      steps: this.#steps,
      calls: history.calls.length,
      loads: history.loads.length,
      faults: history.faults,
      trace: history.lines,
    };
  }

  // ---- The course of a run ------------------------------------------------------------------------------------------

  async #play(): Promise<void> {
    for (let slot = 0; slot < this.plan.replicas; slot++) this.#startReplica(slot);
    for (const action of this.plan.actions) this.timeline.schedule(action.at, undefined, () => this.#act(action));
    await this.#runUntil(() => this.now() >= this.plan.untilMs, this.plan.untilMs);
    this.#healAll();
    await this.#runUntil(() => this.#isQuiet(), this.now() + PATIENCE_MS);
    for (const call of this.history.pending) {
      if (this.replica(call.replica)?.state !== 'gone') this.#checks.fail('I2 deadlines', `call ${call.id} never ended`);
    }
    await this.#close();
  }

  async #close(): Promise<void> {
    this.#isEnding = true;
    for (const replica of this.#live()) this.#checkTotals(replica);
    const closed = this.#live().map((replica) => this.#closeReplica(replica, 0));
    await this.#runUntil(() => false, this.now() + 5_000);
    await Promise.race([Promise.all(closed), Promise.resolve()]);
    for (const replica of this.replicas) {
      if (replica.state !== 'running') continue;
      if (replica.closing !== 'closed') this.#checks.fail('I6 leaks', `${replica.name} never closed`);
      if (replica.armed !== 0) this.#checks.fail('I6 leaks', `${replica.name} left ${replica.armed} timers behind`);
    }
    await this.#runUntil(() => false, this.now() + RETENTION_MS);
    const left = this.#hub.keys();
    if (left.length > 0)
      this.#checks.fail(
        'I6 leaks',
        `the server still holds ${left.map(({ table, key }) => `${table} of ${this.#keyName(key)}`).join(', ')}`,
      );
  }

  async #runUntil(isOver: () => boolean, limitMs: number): Promise<void> {
    while (this.#checks.violation === undefined) {
      const next = this.timeline.nextAt;
      if (next > this.now()) {
        this.#checks.beforeTimeMoves();
        this.#checkLeftovers();
        if (isOver() || next > limitMs) break;
      }
      if (++this.#steps > STEPS_MAX) this.#checks.fail('I2 deadlines', 'the run does not end');
      await this.timeline.step();
      for (const load of this.#abortedLoads.splice(0)) this.#checks.loadAborted(load);
    }
    if (this.#checks.violation === undefined)
      this.timeline.skipTo(limitMs === Infinity ? this.now() : Math.min(limitMs, this.timeline.nextAt));
  }

  #act(action: Action): void {
    switch (action.kind) {
      case 'call':
        return this.#onReplica(action.slot, (replica) => this.#calls(replica, action));
      case 'invalidate':
        return this.#onReplica(action.slot, (replica) => void this.#invalidate(replica, action.key));
      case 'close':
        return this.#onReplica(action.slot, (replica) => {
          void this.#closeReplica(replica, action.drainMs).then(() => this.#startReplica(action.slot));
        });
      case 'crash':
      case 'pause':
      case 'deaf':
      case 'cut':
      case 'outage':
      case 'rollback':
      case 'wipe':
        if (!this.#healed) this.#fault(action);
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

  #startReplica(slot: number): void {
    if (this.#isEnding) return;
    const name = `R${slot}.${++this.#created}`;
    const replica = new SimulatedReplica(this, name, slot, this.#hub.coordinator(), this.plan.random.fork());
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
    const { flights, waiters, joinable, totals } = replica.collapser.stats();
    if (endedCalls(totals) !== totals.calls)
      this.#checks.fail('I8 totals', `${replica.name}: ${endedCalls(totals)} of ${totals.calls} calls were counted as ended`);
    if (flights + waiters + joinable !== 0)
      this.#checks.fail('I6 leaks', `${replica.name} closed with ${flights} flights, ${waiters} waiters, ${joinable} joinable`);
  }

  replica(name: string): SimulatedReplica | undefined {
    return this.replicas.find((replica) => replica.name === name);
  }

  ownerOf(inbox: string): Owner | undefined {
    return this.replicas.find((replica) => replica.inbox === inbox);
  }

  #live(): SimulatedReplica[] {
    return this.replicas.filter((replica) => replica.state !== 'gone' && replica.closing === 'no');
  }

  // ---- Calls and loads ----------------------------------------------------------------------------------------------

  /** One caller who asks how it was answered, or three of the same moment who do not, and may share a promise. */
  #calls(replica: SimulatedReplica, plan: CallPlan): void {
    const asksHow = this.history.calls.length % 2 === 0;
    for (let caller = 0; caller < (asksHow ? 1 : 3); caller++) this.#call(replica, plan, asksHow);
  }

  #call(replica: SimulatedReplica, plan: CallPlan, asksHow: boolean): void {
    const { history } = this;
    const id = history.calls.length;
    const startedSeq = history.note(replica.name, `call ${id} ${plan.key} ${describeCall(plan)}`);
    const known = highest(this.#checks.known.get(`${replica.name} ${plan.key}`) ?? [], startedSeq);
    const acknowledged = highest(this.#checks.acknowledged.get(plan.key) ?? [], startedSeq);
    const leaves = new AbortController();
    const failedSeq = this.#checks.failedInvalidations.get(`${replica.name} ${plan.key}`);
    const call: CallRecord = {
      failedSeq,
      id,
      plan,
      replica: replica.name,
      startedAt: this.now(),
      startedSeq,
      flightId: undefined,
      known,
      acknowledged,
      leaves,
      left: false,
      end: undefined,
    };
    history.calls.push(call);
    history.pending.add(call);
    this.#touch(plan.key);
    const { flights } = replica.collapser.stats();
    const { timeoutMs, loadTimeoutMs, isolate, whenDegraded, freshness, sharesErrors, leavesMs } = plan;
    const options = {
      ...{ timeoutMs, loadTimeoutMs, isolate, whenDegraded, freshness, shareErrors: sharesErrors },
      mayBePrivate: plan.load.ending === 'private',
      ...(leavesMs !== undefined && { signal: leaves.signal }),
    };
    const loader = (context: LoadContext): Promise<unknown> => this.#load(replica, call, context);
    const result = asksHow
      ? replica.collapser.flight(plan.key, loader, options)
      : replica.collapser.run(plan.key, loader, options).then((value) => ({ value, source: undefined, flightId: undefined }));
    this.#board(replica, call, flights);
    if (plan.leavesMs !== undefined) this.timeline.schedule(plan.leavesMs, replica, () => this.#leave(call));
    result.then(
      ({ value, source, flightId }) => {
        call.flightId ??= flightId;
        this.#ended(call, 'value', loadOf(value), source);
      },
      (error: unknown) => this.#ended(call, ...this.#failure(call, error)),
    );
  }

  /**
   * Notes which flight the call is in. One that it has just started is named by its first claim, which may come later.
   * Where some wait for the next flight there are several of a key on one replica: then only the answer tells.
   */
  #board(replica: SimulatedReplica, call: CallRecord, flightsBefore: number): void {
    if (this.plan.mixesFreshness) return;
    const place = `${replica.name} ${call.plan.key}`;
    const newest = this.#newest.get(place);
    const hasStarted = replica.collapser.stats().flights > flightsBefore;
    if (hasStarted && !this.#isNew(newest, call)) this.#unnamed.add(place);
    if (!this.#unnamed.has(place)) call.flightId = newest;
  }

  #isNew(flightId: string | undefined, call: CallRecord): boolean {
    return (this.history.flights.get(flightId ?? '')?.createdSeq ?? 0) > call.startedSeq;
  }

  #name(replica: SimulatedReplica, key: string, flightId: string): void {
    if (this.plan.mixesFreshness) return;
    this.#newest.set(`${replica.name} ${key}`, flightId);
    if (!this.#unnamed.delete(`${replica.name} ${key}`)) return;
    for (const call of this.history.pending) {
      if (call.replica === replica.name && call.plan.key === key && call.flightId === undefined) call.flightId = flightId;
    }
  }

  #leave(call: CallRecord): void {
    if (call.end !== undefined) return;
    this.history.note(call.replica, `call ${call.id} leaves`);
    call.left = true;
    call.leaves.abort(call);
  }

  #ended(call: CallRecord, how: CallEnd['how'], load: number | undefined, source: string | undefined): void {
    const seq = this.history.note(
      call.replica,
      `call ${call.id} ends: ${how}${load === undefined ? '' : ` of load ${load}`}${source === undefined ? '' : `, ${source}`}`,
    );
    call.end = { at: this.now(), seq, how, load, source };
    this.history.pending.delete(call);
    this.#touch(call.plan.key);
    this.#checks.callEnded(call);
  }

  #failure(call: CallRecord, error: unknown): [CallEnd['how'], number | undefined, string | undefined] {
    if (error === call) return ['left', undefined, undefined];
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
    if (code === 'ERR_ONEFLIGHT_WAIT_TIMEOUT') return ['timeout', undefined, undefined];
    if (code === 'ERR_ONEFLIGHT_LOAD_TIMEOUT') return ['load-timeout', undefined, undefined];
    if (code === 'ERR_ONEFLIGHT_COORDINATOR') return ['coordinator', undefined, undefined];
    if (code === 'ERR_ONEFLIGHT_CLOSED') return ['closed', undefined, undefined];
    const failed = /^load (\d+) failed$/.exec(error instanceof Error ? error.message : '')?.[1];
    if (failed !== undefined) return ['error', Number(failed), undefined];
    this.history.note(call.replica, `call ${call.id} got ${String(error)}`);
    return ['unexpected', undefined, undefined];
  }

  #load(replica: SimulatedReplica, caller: CallRecord, context: LoadContext): Promise<unknown> {
    const { history } = this;
    const { load: plan, key } = caller.plan;
    const id = history.loads.length;
    const token = context.fencingToken;
    const startedSeq = history.note(
      replica.name,
      `load ${id} of ${key} starts for call ${caller.id}: ${plan.ending} in ${plan.durationMs} ms, flight ${context.flightId}, token ${token ?? 'none'}`,
    );
    const load: LoadRecord = {
      ...{ id, caller, plan, key, context, token, startedSeq, replica: replica.name, flightId: context.flightId, startedAt: this.now() },
      ...{ grantedSeq: this.#grants.get(`${key} ${token}`) ?? startedSeq, wasMadePrivate: false, end: undefined, aborted: undefined },
    };
    // A first claim cannot tell a server that has forgotten everything that others wait: they load once more.
    const isFresh = history.flights.get(context.flightId)?.claims.length === 1;
    if (token !== undefined && this.#forgetful.delete(key) && isFresh) this.#blame(key);
    if (caller.flightId === undefined) this.#name(replica, key, context.flightId);
    this.#checks.loadStarted(load);
    history.loads.push(load);
    this.#touch(key);
    if (replica.isDeaf) this.#blame(key); // A leader that cannot be heard to listen is taken over.
    if (plan.onAbort !== 'blind') context.signal.addEventListener('abort', () => this.#aborted(load));
    if (plan.ending === 'throws') {
      this.#loadEnded(load, 'error');
      throw new Error(`load ${id} failed`);
    }
    return this.#work(replica, load);
  }

  #work(replica: SimulatedReplica, load: LoadRecord): Promise<unknown> {
    const { plan, context } = load;
    return new Promise((resolve, reject) => {
      if (plan.onAbort === 'rejects') context.signal.addEventListener('abort', () => reject(new Error(`load ${load.id} was aborted`)));
      if (plan.ending === 'private') this.timeline.schedule(plan.durationMs / 2, replica, () => this.#makePrivate(load));
      if (plan.ending === 'hangs') return;
      this.timeline.schedule(plan.durationMs, replica, () => {
        const hasFailed = plan.ending === 'error';
        this.#loadEnded(load, hasFailed ? 'error' : 'value');
        if (hasFailed) reject(new Error(`load ${load.id} failed`));
        else resolve(valueOf(load));
      });
    });
  }

  #makePrivate(load: LoadRecord): void {
    if (!isRunning(load)) return;
    this.history.note(load.replica, `load ${load.id} says that its answer is private`);
    load.wasMadePrivate = true;
    this.#touch(load.key);
    load.context.unshareable();
  }

  #loadEnded(load: LoadRecord, how: 'value' | 'error'): void {
    load.end = { at: this.now(), seq: this.history.note(load.replica, `load ${load.id} ends: ${how}`), how };
    this.#touch(load.key);
  }

  #aborted(load: LoadRecord): void {
    const reason: unknown = load.context.signal.reason;
    load.aborted = { at: this.now(), seq: this.history.note(load.replica, `load ${load.id} is aborted: ${String(reason)}`), reason };
    this.#touch(load.key);
    this.#abortedLoads.push(load);
  }

  async #invalidate(replica: SimulatedReplica, key: string): Promise<void> {
    const begunSeq = this.history.note(replica.name, `invalidates ${key}`);
    const floorBefore = this.history.floorAt(key, Infinity);
    try {
      await replica.collapser.invalidate(key);
    } catch (error) {
      this.history.note(replica.name, `could not invalidate ${key}: ${String(error)}`);
      this.#checks.failedInvalidations.set(`${replica.name} ${key}`, begunSeq);
      return;
    }
    const floor = this.#invalidated.get(`${replica.name} ${key}`) ?? floorBefore;
    const seq = this.history.note(replica.name, `has invalidated ${key}`);
    this.#checks.learn(replica.name, key, floor, seq);
    this.#checks.acknowledge(key, floor, seq);
  }

  readonly #invalidated = new Map<string, number>();
  /** Looked at after the step: calls that end in the same step have not heard of it yet. */
  readonly #abortedLoads: LoadRecord[] = [];

  // ---- The seam, as the replicas use it -----------------------------------------------------------------------------

  operate<R>(
    replica: SimulatedReplica,
    op: OperationName,
    request: { key: string; id?: string; strict?: boolean },
    send: () => Promise<R>,
  ): [OperationRecord, Promise<R>] {
    const { history } = this;
    const key = this.#keyName(request.key);
    const operation: OperationRecord = { op, replica: replica.name, key, id: request.id, sentAt: this.now(), executed: [], floorBefore: 0 };
    const seq = history.note(replica.name, `sends ${op} ${request.id ?? key}`);
    if (op === 'settle' || op === 'release') this.#touch(key);
    if (op === 'claim') this.#checks.claiming(replica, request.id ?? '');
    if (op === 'claim' && request.id !== undefined && !history.flights.has(request.id)) {
      history.flights.set(request.id, {
        id: request.id,
        key,
        replica: replica.name,
        createdSeq: seq,
        isStrict: request.strict === true,
        claims: [],
        closed: [],
        told: [],
        following: undefined,
      });
      this.#name(replica, key, request.id);
    }
    this.#network.operation = operation;
    const reply = send();
    this.#network.operation = undefined;
    if (op === 'invalidate')
      reply.then(
        (floor) => this.#invalidated.set(`${replica.name} ${key}`, Number(floor)),
        () => undefined,
      );
    return [operation, reply];
  }

  claimed(replica: SimulatedReplica, operation: OperationRecord, request: ClaimRequest, claim: Claim): void {
    const detail = describeClaim(claim);
    this.history.note(replica.name, `is told about ${request.id}: ${detail}, floor ${claim.floor}`);
    const grant = `${operation.key} ${claim.role === 'leader' ? claim.fencingToken : ''}`;
    if (claim.role === 'leader' && !this.#grants.has(grant)) this.#grants.set(grant, operation.executed[0] ?? 0);
    this.#checks.claimed(operation, request, claim);
  }

  renewed(operation: OperationRecord, request: HolderRequest, renewal: Renewal): void {
    this.history.note(operation.replica, `${request.id} is ${renewal.state}`);
    this.#checks.renewed(operation, request, renewal);
  }

  settled(operation: OperationRecord, request: HolderRequest, settlement: Settlement): void {
    this.history.note(operation.replica, `${request.id} is ${settlement.state}`);
    this.#checks.settled(operation, request, settlement);
  }

  received(replica: SimulatedReplica, message: Message): void {
    const key = 'key' in message ? this.#keyName(message.key) : '';
    const ids = 'ids' in message ? ` ${message.ids.join(' ')}` : '';
    const seq = this.history.note(replica.name, `hears ${message.kind} ${key}${ids}`);
    this.#checks.received(replica, message, key, seq);
  }

  #observe(message: Message): void {
    if (message.kind !== 'invalidated') return;
    const key = this.#keyName(message.key);
    const seq = this.history.note('server', `fences ${key} below ${message.floor}`);
    this.history.floors.set(key, [...(this.history.floors.get(key) ?? []), { floor: message.floor, seq }]);
  }

  // ---- The network --------------------------------------------------------------------------------------------------

  arrived(leg: Leg, operation: OperationRecord | undefined, deliver: () => void): void {
    if (leg.kind !== 'request' || operation === undefined) return deliver();
    const before = this.#hub.operations.length;
    const seq = this.history.note('server', `gets ${leg.op} ${leg.id ?? operation.key} of ${operation.replica}`);
    if (operation.executed.length === 0) operation.floorBefore = this.history.floorAt(operation.key, seq);
    this.#network.operation = operation;
    deliver();
    this.#network.operation = undefined;
    if (this.#hub.operations.length === before) return;
    operation.executed.push(seq);
    const flight = this.history.flights.get(operation.id ?? '');
    if (leg.op === 'claim') flight?.claims.push(seq);
    if (leg.op === 'settle' || leg.op === 'release') flight?.closed.push(seq);
  }

  reorders(): void {
    this.history.countFault('reorder');
  }

  faulted(leg: Leg, fault: LegFault, untilMs: number): void {
    const what = leg.kind === 'message' ? leg.message.kind : leg.op;
    this.history.note('network', `${fault}s the ${leg.kind} ${what} ${leg.kind === 'message' ? `to ${leg.to}` : (leg.id ?? '')}`);
    this.history.countFault(`${fault} ${leg.kind}`);
    const key = leg.key === undefined ? undefined : this.#keyName(leg.key);
    this.#blame(key);
    this.#trouble(untilMs);
    const leavesBehind = leg.kind === 'request' && (what === 'settle' || what === 'release' || fault !== 'lose');
    // Executed after its flight was over, and nobody hears of it: the lease that it got ends by itself.
    const isOrphan =
      leg.kind === 'reply' && what === 'claim' && ![...this.history.pending].some((call) => this.#mayWaitFor(call, leg.id, leg.to));
    if (key !== undefined && (leavesBehind || isOrphan)) this.#excused.add(key);
  }

  /** Where the flight of a call is not known, any call of the replica may be in it. */
  #mayWaitFor(call: CallRecord, flightId: string | undefined, inbox: string): boolean {
    if (call.flightId !== undefined || !this.plan.mixesFreshness) return call.flightId === flightId;
    return this.replica(call.replica)?.inbox === inbox;
  }

  // ---- Faults -------------------------------------------------------------------------------------------------------

  #fault(fault: Fault): void {
    const replica = 'slot' in fault ? this.#slots[fault.slot] : undefined;
    if ('slot' in fault && (replica === undefined || replica.state !== 'running' || replica.closing !== 'no')) return;
    this.history.note('fault', `${fault.kind} ${replica?.name ?? ''}`);
    this.history.countFault(fault.kind);
    this.#blame(undefined, fault.kind === 'outage' ? this.plan.replicas + 1 : 1);
    this.#trouble(this.now());
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
          this.timeline.release(replica, fault.keepsOrder);
        });
      case 'deaf':
        for (const load of this.history.loads) if (load.replica === replica.name && isRunning(load)) this.#blame(load.key);
        replica.isDeaf = true;
        replica.coordinator.deafen();
        return this.#undoAfter(fault.forMs, () => {
          replica.isDeaf = false;
          if (replica.state !== 'gone') replica.coordinator.listen();
        });
      case 'cut':
        return this.#undoAfter(fault.forMs, this.#network.cut(replica, fault.leg));
      case 'outage':
      case 'rollback':
      case 'wipe':
    }
  }

  #serverFault(fault: Fault): void {
    if (fault.kind === 'outage') {
      this.#excuseAll();
      this.#hub.outage(true);
      this.#undoAfter(fault.forMs, () => this.#hub.outage(false));
    }
    if (fault.kind === 'rollback') {
      this.#excuseAll();
      const forget = this.#hub.checkpoint();
      const seq = this.history.note('server', 'is copied');
      this.#undoAfter(fault.lagMs, () => {
        forget();
        for (const key of ['alpha', 'beta', 'gamma']) if (!this.#knowsOf(key, seq)) this.#forgetful.add(key);
      });
    }
    if (fault.kind === 'wipe') this.#hub.wipe();
  }

  #crash(replica: SimulatedReplica, restartMs: number): void {
    this.#excuseAll();
    replica.state = 'gone';
    replica.coordinator.crash();
    for (const call of this.history.pending) if (call.replica === replica.name) this.history.pending.delete(call);
    for (const key of this.#keyOf.values()) this.#touch(key);
    this.timeline.schedule(restartMs, undefined, () => this.#startReplica(replica.slot));
  }

  /** The fault ends after this long, or when everything heals. */
  #undoAfter(delayMs: number, undo: () => void): void {
    const once = (): void => {
      if (!this.#undo.delete(once)) return;
      this.history.note('fault', 'is over');
      this.#trouble(this.now());
      undo();
    };
    this.#undo.add(once);
    this.timeline.schedule(delayMs, undefined, once);
  }

  #healAll(): void {
    this.history.note('fault', 'all is healed');
    this.#network.heal();
    for (const undo of this.#undo) undo();
    this.#healed = true;
    this.#trouble(this.now());
  }

  #blame(key: string | undefined, weight = 1): void {
    for (const one of key === undefined ? ['alpha', 'beta', 'gamma'] : [key]) this.#faultsOf.set(one, this.faultsOf(one) + weight);
  }

  /** Whether the server, gone back to that moment, still knows that a flight of the key is in progress. */
  #knowsOf(key: string, seq: number): boolean {
    const newest = this.history.loadsOf(key).findLast(({ token, grantedSeq }) => token !== undefined && grantedSeq < seq);
    if (newest?.token === undefined || this.history.floorAt(key, Infinity) >= newest.token) return false;
    return this.history.flights.get(newest.flightId)?.closed.every((closed) => closed < newest.grantedSeq || closed > seq) ?? false;
  }

  #excuseAll(): void {
    for (const key of ['alpha', 'beta', 'gamma']) this.#excused.add(key);
  }

  #trouble(untilMs: number): void {
    this.#troubleUntil = Math.max(this.#troubleUntil, untilMs);
  }

  // ---- What the checks ask ------------------------------------------------------------------------------------------

  now(): number {
    return this.timeline.now();
  }

  faultsOf(key: string): number {
    return this.#faultsOf.get(key) ?? 0;
  }

  /**
   * An invalidation takes the lease from its holder, so a waiter that rechecks leads a load of its own; an outcome that is
   * for nobody, or for one alone, leaves its work to the next waiter.
   */
  allowanceOf(key: string): number {
    const passedOn = this.history.loadsOf(key).filter((load) => leavesWork(load)).length;
    return this.faultsOf(key) + (this.history.floors.get(key)?.length ?? 0) + passedOn;
  }

  lastActivity(key: string): number {
    return this.#activity.get(key) ?? 0;
  }

  lastTrouble(): number {
    return this.#undo.size > 0 ? this.now() : this.#troubleUntil;
  }

  #touch(key: string): void {
    this.#activity.set(key, this.now());
  }

  #keyName(hash: string): string {
    if (this.#keyOf.size === 0) {
      for (const key of ['alpha', 'beta', 'gamma']) this.#keyOf.set(hashKey('simulated', canonicalKey(key)), key);
    }
    return this.#keyOf.get(hash) ?? hash;
  }

  #isQuiet(): boolean {
    return (
      this.history.pending.size === 0 &&
      this.#network.underway === 0 &&
      this.#live().every((replica) => replica.state === 'running' && replica.collapser.stats().flights === 0)
    );
  }

  /** When nobody waits, nothing flies and nothing is on its way, nobody holds a lease and nobody is registered (I6). */
  #checkLeftovers(): void {
    if (!this.#isQuiet() || this.replicas.some(({ closing }) => closing === 'closing')) return;
    for (const replica of this.#live()) {
      const { joinable, waiters, loading } = replica.collapser.stats();
      if (joinable + waiters + loading !== 0)
        this.#checks.fail('I6 leaks', `${replica.name} is idle with ${joinable} joinable, ${waiters} waiters, ${loading} loading`);
    }
    for (const { table, key } of this.#hub.keys()) {
      const name = this.#keyName(key);
      if ((table === 'L' || table === 'W') && !this.#excused.has(name))
        this.#checks.fail('I6 leaks', `nobody uses ${name} and the server holds its ${table}`);
    }
  }

  /** Each call ended up in exactly one total, and in the one that its caller saw. */
  #checkTotals(replica: SimulatedReplica): void {
    const { totals } = replica.collapser.stats();
    const { calls, leader, local, remote, degraded, bypass, errors, timeouts, aborts } = totals;
    const ended = leader + local + remote + degraded + bypass + errors + timeouts + aborts;
    if (calls !== ended) this.#checks.fail('totals', `${replica.name} accepted ${calls} calls and ended ${ended}`);
    const own = this.history.calls.filter((call) => call.replica === replica.name);
    const seen = (how: CallEnd['how']): number => own.filter(({ end }) => end?.how === how).length;
    if (
      own.length !== calls ||
      seen('value') !== leader + local + remote + degraded + bypass ||
      seen('timeout') !== timeouts ||
      seen('left') !== aborts
    ) {
      this.#checks.fail('totals', `${replica.name} counted ${JSON.stringify(totals)}, its callers saw otherwise`);
    }
  }
}

function serverClock(timeline: Timeline) {
  return {
    now: () => timeline.now(),
    setTimer: (callback: () => void, delayMs: number) => timeline.schedule(delayMs, undefined, callback),
  };
}

/** Warnings are of no interest here, and thousands of runs would print them. */
export function silenceWarnings(): () => void {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  return () => {
    process.emitWarning = emitWarning;
  };
}

function valueOf(load: LoadRecord): unknown {
  const value = { load: load.id, key: load.key };
  if (load.plan.ending === 'large') return { ...value, padding: 'x'.repeat(2_000) };
  return load.plan.ending === 'untravelable' ? { ...value, method: () => undefined } : value;
}

function loadOf(value: unknown): number | undefined {
  const load: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'load') : undefined;
  return typeof load === 'number' ? load : undefined;
}

function describeClaim(claim: Claim): string {
  switch (claim.role) {
    case 'leader':
      return `leader ${claim.fencingToken}`;
    case 'follower':
      return `follower of ${claim.flightId}, min ${claim.min}`;
    case 'settled':
      return `settled ${claim.fencingToken}`;
    case 'cached':
    case 'stale':
      return claim.role;
  }
}

function describeCall(plan: CallPlan): string {
  const leaves = plan.leavesMs === undefined ? '' : `, leaves after ${plan.leavesMs} ms`;
  return `timeoutMs ${plan.timeoutMs}, loadTimeoutMs ${plan.loadTimeoutMs}${leaves}${plan.sharesErrors ? '' : ', errors unshared'}${plan.whenDegraded === 'load' ? '' : ', rejects when degraded'}${plan.freshness === 'join' ? '' : `, ${plan.freshness}`}`;
}
