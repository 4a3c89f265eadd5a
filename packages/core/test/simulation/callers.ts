import type { LoadContext } from '../../src/index.js';
import { highest, type CallEnd, type CallRecord } from './history.js';
import { loadOf, type Loads } from './loads.js';
import type { CallPlan } from './plan.js';
import type { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';

/** Those who ask: each call, which flight it is in, and how it ended. */
export class Callers {
  readonly #run: Run;
  readonly #loads: Loads;
  /** The newest flight of a key on a replica: the one that a call joins if it starts none. */
  readonly #newest = new Map<string, string>();
  readonly #unnamed = new Set<string>();

  constructor(run: Run, loads: Loads) {
    this.#run = run;
    this.#loads = loads;
  }

  /** One caller who asks how it was answered, or three of the same moment who do not, and may share a promise. */
  calls(replica: SimulatedReplica, plan: CallPlan): void {
    const asksHow = this.#run.history.calls.length % 2 === 0;
    for (let caller = 0; caller < (asksHow ? 1 : 3); caller++) this.#call(replica, plan, asksHow);
  }

  #call(replica: SimulatedReplica, plan: CallPlan, asksHow: boolean): void {
    const { history } = this.#run;
    const id = history.calls.length;
    const startedSeq = history.note(replica.name, `call ${id} ${plan.key} ${describeCall(plan)}`);
    const known = highest(this.#run.checks.known.get(`${replica.name} ${plan.key}`) ?? [], startedSeq);
    const acknowledged = highest(this.#run.checks.acknowledged.get(plan.key) ?? [], startedSeq);
    const leaves = new AbortController();
    const failedSeq = this.#run.checks.failedInvalidations.get(`${replica.name} ${plan.key}`);
    const call: CallRecord = {
      failedSeq,
      id,
      plan,
      replica: replica.name,
      startedAt: this.#run.now(),
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
    this.#run.history.touch(plan.key);
    const { flights } = replica.collapser.stats();
    const { timeoutMs, loadTimeoutMs, isolate, whenDegraded, freshness, sharesErrors, leavesMs } = plan;
    const options = {
      ...{ timeoutMs, loadTimeoutMs, isolate, whenDegraded, freshness, shareErrors: sharesErrors },
      mayBePrivate: plan.load.ending === 'private',
      ...(leavesMs !== undefined && { signal: leaves.signal }),
    };
    const loader = (context: LoadContext): Promise<unknown> => this.#loads.start(replica, call, context);
    const result = asksHow
      ? replica.collapser.flight(plan.key, loader, options)
      : replica.collapser.run(plan.key, loader, options).then((value) => ({ value, source: undefined, flightId: undefined }));
    this.#board(replica, call, flights);
    if (plan.leavesMs !== undefined) this.#run.timeline.schedule(plan.leavesMs, replica, () => this.#leave(call));
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
    if (this.#run.plan.mixesFreshness) return;
    const place = `${replica.name} ${call.plan.key}`;
    const newest = this.#newest.get(place);
    const hasStarted = replica.collapser.stats().flights > flightsBefore;
    if (hasStarted && !this.#isNew(newest, call)) this.#unnamed.add(place);
    if (!this.#unnamed.has(place)) call.flightId = newest;
  }

  #isNew(flightId: string | undefined, call: CallRecord): boolean {
    return (this.#run.history.flights.get(flightId ?? '')?.createdSeq ?? 0) > call.startedSeq;
  }

  /** A flight of the key on the replica has this id: those who wait for it without one are in it. */
  name(replica: SimulatedReplica, key: string, flightId: string): void {
    if (this.#run.plan.mixesFreshness) return;
    this.#newest.set(`${replica.name} ${key}`, flightId);
    if (!this.#unnamed.delete(`${replica.name} ${key}`)) return;
    for (const call of this.#run.history.pending) {
      if (call.replica === replica.name && call.plan.key === key && call.flightId === undefined) call.flightId = flightId;
    }
  }

  #leave(call: CallRecord): void {
    if (call.end !== undefined) return;
    this.#run.history.note(call.replica, `call ${call.id} leaves`);
    call.left = true;
    call.leaves.abort(call);
  }

  #ended(call: CallRecord, how: CallEnd['how'], load: number | undefined, source: string | undefined): void {
    const seq = this.#run.history.note(
      call.replica,
      `call ${call.id} ends: ${how}${load === undefined ? '' : ` of load ${load}`}${source === undefined ? '' : `, ${source}`}`,
    );
    call.end = { at: this.#run.now(), seq, how, load, source };
    this.#run.history.pending.delete(call);
    this.#run.history.touch(call.plan.key);
    this.#run.checks.callEnded(call);
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
    this.#run.history.note(call.replica, `call ${call.id} got ${String(error)}`);
    return ['unexpected', undefined, undefined];
  }
}

function describeCall(plan: CallPlan): string {
  const leaves = plan.leavesMs === undefined ? '' : `, leaves after ${plan.leavesMs} ms`;
  return `timeoutMs ${plan.timeoutMs}, loadTimeoutMs ${plan.loadTimeoutMs}${leaves}${plan.sharesErrors ? '' : ', errors unshared'}${plan.whenDegraded === 'load' ? '' : ', rejects when degraded'}${plan.freshness === 'join' ? '' : `, ${plan.freshness}`}`;
}
