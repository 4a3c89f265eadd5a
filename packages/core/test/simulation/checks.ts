import type { Claim, ClaimRequest, HolderRequest, Message, Renewal, Settlement } from '../../src/index.js';
import {
  highest,
  isRunning,
  leavesWork,
  type CallRecord,
  type FlightRecord,
  type History,
  type Known,
  type LoadRecord,
  type OperationRecord,
} from './history.js';
import type { Plan } from './plan.js';
import type { SimulatedReplica } from './replica.js';

/** A promise of docs/guarantees.md or a rule of docs/protocol.md that the run has broken. */
export interface Violation {
  readonly invariant: string;
  readonly detail: string;
}

/** What the checks know of a run besides its history. */
export interface CheckedRun {
  readonly plan: Plan;
  readonly history: History;
  readonly replicas: readonly SimulatedReplica[];
  now(): number;
  replica(name: string): SimulatedReplica | undefined;
  /** Faults that may have cost the key a load so far. */
  faultsOf(key: string): number;
  /** As many loads too many may there be. */
  allowanceOf(key: string): number;
  /** The last moment at which something happened to the key, or a fault may have shown. */
  lastActivity(key: string): number;
  lastTrouble(): number;
}

/** The invariants. Each is checked as soon as it can be broken; the first that is ends the run. */
export class Checks {
  violation: Violation | undefined;
  /** Per replica and key, the floors that it was told of by broadcasts and by its own invalidations. */
  readonly known = new Map<string, Known[]>();
  /** Per key, the floors of invalidations that have resolved, wherever they were made. */
  readonly acknowledged = new Map<string, Known[]>();
  /** Per replica and key, when the last invalidation began that failed. */
  readonly failedInvalidations = new Map<string, number>();
  readonly #run: CheckedRun;
  readonly #excess = new Map<string, number>();
  readonly #counted = new Set<string>();
  readonly #lastRenewal = new Map<string, number>();
  readonly #tokens = new Map<string, string>();

  constructor(run: CheckedRun) {
    this.#run = run;
  }

  fail(invariant: string, detail: string): void {
    this.violation ??= { invariant, detail };
  }

  // ---- Loads --------------------------------------------------------------------------------------------------------

  loadStarted(load: LoadRecord): void {
    if (load.context.key !== load.key) this.fail('I7 own key', `load ${load.id} of ${load.key} was told key ${String(load.context.key)}`);
    if (load.token === undefined) this.#checkUntokened(load);
    else this.#checkExcess(load);
    this.#checkOverlap(load);
  }

  /** Without a fault, and without an invalidation, which frees the key for the next load, one load of a key runs at a time. */
  #checkOverlap(load: LoadRecord): void {
    if (load.token === undefined || this.#run.history.faults.size > 0 || this.#run.history.floors.has(load.key)) return;
    const other = this.#run.history.loadsOf(load.key).find((one) => one.token !== undefined && isRunning(one) && !leavesWork(one));
    if (other !== undefined) this.fail('s2 overlap', `load ${load.id} starts while load ${other.id} runs`);
  }

  /** Without a token: only where a fault, or an outcome that cannot travel or is private, made it necessary. */
  #checkUntokened(load: LoadRecord): void {
    const { history } = this.#run;
    const mayBeAlone = history.loadsOf(load.key).some(({ plan, wasMadePrivate }) => wasMadePrivate || plan.ending === 'untravelable');
    if (!mayBeAlone && this.#run.faultsOf(load.key) === 0)
      this.fail('I3 loads', `load ${load.id} runs without a token although there was no fault`);
    if (mayBeAlone || load.token !== undefined) return;
    const twin = history.loadsOf(load.key).find((other) => other !== load && other.flightId === load.flightId && isRunning(other));
    if (twin !== undefined) this.fail('I1 one loader', `loads ${twin.id} and ${load.id} run at once in the same flight of one replica`);
  }

  /**
   * A load is one too many if its flight had claimed while an earlier one was there to answer it: then a fault must have
   * made it necessary. Without faults there is none (I1, I3); with faults not more than faults.
   */
  #checkExcess(load: LoadRecord): void {
    const flight = this.#run.history.flights.get(load.flightId);
    const first = flight?.claims[0];
    if (first === undefined) return this.fail('I1 one loader', `load ${load.id} has a token but no claim of ${load.flightId} was executed`);
    // A strict claim is answered only by who is granted the key after it, and then it is registered there.
    const answers = (other: LoadRecord): boolean =>
      flight?.isStrict === true
        ? first < other.grantedSeq && other.grantedSeq < load.grantedSeq
        : other.grantedSeq < first && first < this.#finish(other);
    const earlier = this.#run.history
      .loadsOf(load.key)
      .find((other) => other !== load && other.token !== undefined && answers(other) && !this.#isExempt(other, first));
    // A flight that loads again after an error that is not shared was counted before.
    if (earlier === undefined || this.#counted.has(load.flightId)) return;
    this.#counted.add(load.flightId);
    const excess = (this.#excess.get(load.key) ?? 0) + 1;
    this.#excess.set(load.key, excess);
    const allowance = this.#run.allowanceOf(load.key);
    if (excess > allowance)
      this.fail(
        'I3 loads',
        `load ${load.id} of ${load.flightId} after load ${earlier.id}: ${excess} loads too many after ${allowance} faults and invalidations`,
      );
  }

  /** The outcome of this load was not for others, or not for those who claimed after the invalidation. */
  #isExempt(load: LoadRecord, claimedSeq: number): boolean {
    const fenced = this.#run.history.floorAt(load.key, claimedSeq) >= (load.token ?? 0);
    return leavesWork(load) || fenced || load.plan.ending === 'untravelable';
  }

  /** When its flight answered nobody any more: settled, released, or superseded by another, which is one load too many. */
  #finish(load: LoadRecord): number {
    const closed = this.#run.history.flights.get(load.flightId)?.closed.find((seq) => seq > load.grantedSeq);
    const next = this.#run.history.loadsOf(load.key).find(({ token, grantedSeq }) => token !== undefined && grantedSeq > load.grantedSeq);
    return Math.min(closed ?? Infinity, next?.grantedSeq ?? Infinity);
  }

  loadAborted(load: LoadRecord): void {
    const reason: unknown = load.aborted?.reason;
    const code = reason instanceof Error ? Reflect.get(reason, 'code') : undefined;
    if (code === 'ERR_ONEFLIGHT_LOAD_TIMEOUT' || code === 'ERR_ONEFLIGHT_CLOSED') return;
    for (const call of this.#run.history.pending) {
      if (call.plan.key !== load.key || call.left) continue;
      // Callers of one moment may wait as one, also where they were let go.
      const hasOwnLoad = this.#run.history.loads.some((other) => other !== load && other.caller.plan === call.plan && isRunning(other));
      if (!hasOwnLoad && this.#waitsFor(call, load) && !load.wasMadePrivate) {
        this.fail('signal', `load ${load.id} was aborted although call ${call.id} waits for it`);
      }
    }
  }

  #waitsFor(call: CallRecord, load: LoadRecord): boolean {
    if (call.replica === load.replica && call.flightId === load.flightId) return true;
    const { history } = this.#run;
    if (history.faults.size > 0 || call.flightId === undefined || load.token === undefined) return false;
    const follows = history.flights.get(call.flightId)?.following;
    const asked = this.#lastRenewal.get(load.flightId);
    return follows?.leader === load.flightId && asked !== undefined && follows.seq < asked;
  }

  // ---- Calls --------------------------------------------------------------------------------------------------------

  callEnded(call: CallRecord): void {
    const { end, plan } = call;
    if (end === undefined) return;
    if (end.how === 'unexpected') this.fail('outcome', `call ${call.id} ended in a way that nothing explains`);
    if (end.how === 'coordinator' && plan.whenDegraded === 'load')
      this.fail('degraded', `call ${call.id} got a CoordinatorError although it asked to load`);
    if (end.how === 'timeout' && end.at < call.startedAt + plan.timeoutMs) this.fail('I2 deadlines', `call ${call.id} timed out early`);
    if (end.how === 'left' && !call.left) this.fail('one leaves alone', `call ${call.id} was aborted but did not leave`);
    if (end.how === 'closed' && this.#run.replica(call.replica)?.closing === 'no')
      this.fail('outcome', `call ${call.id} got a ClosedError from an open collapser`);
    const load = end.load === undefined ? undefined : this.#run.history.loads[end.load];
    if (end.load !== undefined && load === undefined) this.fail('I7 own key', `call ${call.id} got the outcome of a load that never was`);
    if (load !== undefined) this.#checkOutcome(call, load);
  }

  #checkOutcome(call: CallRecord, load: LoadRecord): void {
    if (load.key !== call.plan.key)
      return this.fail('I7 own key', `call ${call.id} of ${call.plan.key} got load ${load.id} of ${load.key}`);
    if (load.wasMadePrivate && call !== load.caller)
      return this.fail('private', `call ${call.id} got load ${load.id}, whose answer belongs to call ${load.caller.id} alone`);
    this.#checkFreshness(call, load);
    this.#checkAskedFreshness(call, load);
    this.#checkInvalidated(call, load);
    const own = this.#run.history.loads.find(
      (other) => other.flightId === call.flightId && other.replica === call.replica && isRunning(other),
    );
    if (call.end?.source === 'remote' && own !== undefined)
      this.fail('degraded', `call ${call.id} got load ${load.id} from elsewhere while its own flight loads`);
  }

  /** No load from before an invalidation that the call's replica knew of, made, or was told of by a reply. */
  #checkInvalidated(call: CallRecord, load: LoadRecord): void {
    const known = call.known;
    if (known !== undefined && isStale(load, known))
      this.fail(
        'I4 invalidated',
        `call ${call.id} on ${call.replica} got load ${load.id} from before floor ${known.floor}, which the replica knew`,
      );
    if (call.failedSeq !== undefined && load.startedSeq < call.failedSeq) {
      this.fail(
        'I4 invalidated',
        `call ${call.id} got load ${load.id} from before an invalidation that failed, which holds on its own replica all the same`,
      );
    }
    const told = highest(this.#run.history.flights.get(call.flightId ?? '')?.told ?? [], call.startedSeq);
    if (told !== undefined && load.token !== undefined && load.token <= told.floor) {
      this.fail(
        'I4 invalidated',
        `call ${call.id} joined ${call.flightId} and got load ${load.id} from before floor ${told.floor}, although a reply had told`,
      );
    }
  }

  /** What the call asked for beyond a load that runs. A failover that forgets an invalidation is beyond it: that is documented. */
  #checkAskedFreshness(call: CallRecord, load: LoadRecord): void {
    const { freshness } = call.plan;
    if (freshness === 'strict' && load.startedSeq < call.startedSeq)
      this.fail('s1 strict', `strict call ${call.id} got load ${load.id}, which had started before it`);
    if (freshness === 'strict') this.#checkRank(call, load);
    const { acknowledged } = call;
    if (freshness === 'join' || acknowledged === undefined || this.#mayHaveForgotten()) return;
    if (isStale(load, acknowledged))
      this.fail(
        'confirmed',
        `call ${call.id} got load ${load.id} from before floor ${acknowledged.floor}, whose invalidation had resolved`,
      );
  }

  /**
   * Without faults a strict call is registered at once, and every load that is granted the key after that may answer it: so
   * the second load to start does at the latest. Who waits here for the end of a load competes with other replicas then.
   * The news of an outcome may be overtaken by the next one while it travels.
   */
  #checkRank(call: CallRecord, load: LoadRecord): void {
    const { history, plan } = this.#run;
    if (load.token === undefined || history.faults.size > 0 || history.floors.has(load.key)) return;
    const ranHere = history
      .loadsOf(load.key)
      .some(
        ({ replica, startedSeq, end }) =>
          replica === call.replica && startedSeq < call.startedSeq && (end?.seq ?? Infinity) > call.startedSeq,
      );
    const newsMs = 4 * plan.legMsMax + 1;
    const registeredAt = call.startedAt + 5 * plan.legMsMax + 1;
    const passedOver = history
      .loadsOf(load.key)
      .filter((other) => other.startedAt > registeredAt && other.startedSeq < load.startedSeq && other.token !== undefined)
      .filter((other) => !leavesWork(other) && other.plan.ending !== 'untravelable')
      .filter((other) => (call.end?.at ?? Infinity) > (other.end?.at ?? Infinity) + newsMs);
    if (passedOver.length > (ranHere ? 1 : 0))
      this.fail('s3 second load', `strict call ${call.id} got load ${load.id}, ${passedOver.length} too late`);
  }

  /** The load ran at some moment of the call; from another replica, give or take the way of the news without faults. */
  #checkFreshness(call: CallRecord, load: LoadRecord): void {
    if (load.end === undefined) return;
    const isLocal = load.replica === call.replica && load.flightId === call.flightId;
    if (isLocal && load.end.seq < call.startedSeq) this.fail('freshness', `call ${call.id} got load ${load.id}, which had ended before it`);
    const newsMs = 4 * this.#run.plan.legMsMax + 1;
    if (this.#run.history.faults.size === 0 && call.startedAt > load.end.at + newsMs) {
      this.fail('freshness', `call ${call.id} got load ${load.id}, which had ended ${call.startedAt - load.end.at} ms before`);
    }
  }

  // ---- The seam -----------------------------------------------------------------------------------------------------

  /** A flight that loads needs no claim: what it got would be nobody's. */
  claiming(replica: SimulatedReplica, id: string): void {
    const load = this.#run.history.loads.find((one) => one.flightId === id && one.replica === replica.name && isRunning(one));
    if (load !== undefined) this.fail('claims', `${id} claims while its load ${load.id} runs`);
  }

  claimed(operation: OperationRecord, request: ClaimRequest, claim: Claim): void {
    const flight = this.#run.history.flights.get(request.id);
    this.#tell(flight, operation);
    switch (claim.role) {
      case 'follower':
        if (claim.flightId === request.id) this.fail('D2 idempotent claim', `${request.id} was told to follow itself`);
        if (request.min > 0 && claim.min > request.min)
          this.fail('D17 min never grows', `${request.id} asked with min ${request.min} and was told ${claim.min}`);
        if (flight !== undefined) flight.following = { leader: claim.flightId, seq: operation.executed[0] ?? Infinity };
        return;
      case 'leader':
        this.#checkToken(operation.key, request.id, claim.fencingToken);
        if (flight !== undefined) flight.following = undefined;
        return;
      case 'settled':
        if (claim.fencingToken < request.min)
          this.fail('min', `${request.id} was answered with token ${claim.fencingToken} below its min ${request.min}`);
        return;
      case 'cached':
      case 'stale':
        this.fail('cache', `${request.id} got a stored value, which no call asked for`);
    }
  }

  #checkToken(key: string, id: string, token: number): void {
    const holder = this.#tokens.get(`${key} ${token}`) ?? id;
    if (holder !== id) this.fail('tokens', `token ${token} of ${key} was given to ${holder} and to ${id}`);
    this.#tokens.set(`${key} ${token}`, id);
  }

  renewed(operation: OperationRecord, request: HolderRequest, renewal: Renewal): void {
    // A reply that comes after core's own limit is not looked at.
    const isInTime = this.#run.now() - operation.sentAt < this.#run.plan.timings.commandTimeoutMs;
    if (isInTime) this.#tell(this.#run.history.flights.get(request.id), operation);
    const executed = operation.executed[0];
    if (executed !== undefined) this.#lastRenewal.set(request.id, executed);
    if (renewal.state === 'held' && !this.#mayHaveForgotten() && request.token <= operation.floorBefore) {
      this.fail('I5 fenced', `${request.id} was told that it holds ${request.token} although the floor is ${operation.floorBefore}`);
    }
  }

  /** `settled` is what permits a cache entry: never for a load that an invalidation fenced. */
  settled(operation: OperationRecord, request: HolderRequest, settlement: Settlement): void {
    if (settlement.state === 'settled' && !this.#mayHaveForgotten() && request.token <= operation.floorBefore) {
      this.fail('I5 fenced', `${request.id} settled token ${request.token} as current although the floor was ${operation.floorBefore}`);
    }
  }

  received(replica: SimulatedReplica, message: Message, key: string, seq: number): void {
    if (message.kind === 'invalidated') this.learn(replica.name, key, message.floor, seq);
    if (message.kind === 'rejected') this.fail('messages', `${replica.name} rejected a message: ${message.reason}`);
  }

  learn(replica: string, key: string, floor: number, seq: number): void {
    const known = this.known.get(`${replica} ${key}`) ?? [];
    known.push({ floor, seq });
    this.known.set(`${replica} ${key}`, known);
  }

  acknowledge(key: string, floor: number, seq: number): void {
    const floors = this.acknowledged.get(key) ?? [];
    floors.push({ floor, seq });
    this.acknowledged.set(key, floors);
  }

  #tell(flight: FlightRecord | undefined, operation: OperationRecord): void {
    // A failover that forgets an acknowledged invalidation makes replies silent about it; that hole is documented.
    if (flight === undefined || operation.floorBefore === 0 || this.#mayHaveForgotten()) return;
    flight.told.push({
      floor: operation.floorBefore,
      seq: this.#run.history.note(operation.replica, `knows floor of ${operation.key} by a reply`),
    });
  }

  #mayHaveForgotten(): boolean {
    return this.#run.history.faults.has('rollback');
  }

  // ---- As time passes -----------------------------------------------------------------------------------------------

  /** Called when everything due now has happened and time is about to move on. */
  beforeTimeMoves(): void {
    for (const call of this.#run.history.pending) {
      const replica = this.#run.replica(call.replica);
      if (replica?.state !== 'running') continue;
      if (call.startedAt + call.plan.timeoutMs <= this.#run.now()) this.fail('I2 deadlines', `call ${call.id} still waits at its deadline`);
      if (replica.closing !== 'closed') this.#checkStall(call);
    }
  }

  /** Somebody waits: then somebody loads, or the news of a load, a wake-up or a claim is on its way. */
  #checkStall(call: CallRecord): void {
    const { key } = call.plan;
    const loads = this.#run.history.loadsOf(key).some((load) => isRunning(load) && this.#run.replica(load.replica)?.state === 'running');
    if (loads) return;
    const idleMs = this.#run.now() - Math.max(this.#run.lastActivity(key), this.#run.lastTrouble());
    if (idleMs > this.stallMsMax) this.fail('I2 stall', `call ${call.id} waits and nobody has loaded ${key} for ${idleMs.toFixed(0)} ms`);
  }

  get stallMsMax(): number {
    const { legMsMax, timings } = this.#run.plan;
    if (this.#run.history.faults.size === 0) return 10 * legMsMax + 10;
    return timings.leaseMs + 5 * timings.recheckMs + 9 * timings.commandTimeoutMs + 20 * legMsMax;
  }
}

/** Whether the load began before an invalidation. Without a token the order of events tells, on the same replica. */
function isStale(load: LoadRecord, known: Known): boolean {
  return load.token === undefined ? load.startedSeq < known.seq : load.token <= known.floor;
}
