import type { LoadContext } from '../../src/index.js';
import type { Faults } from './faults.js';
import { isRunning, type CallRecord, type LoadRecord } from './history.js';
import type { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';

/** What a load tells, and asks about. */
export interface LoadsHost {
  /** When the claim was executed that was granted this token. */
  grantedSeq(key: string, token: number | undefined): number | undefined;
  /** The id of a caller's flight became known by its load. */
  named(replica: SimulatedReplica, key: string, flightId: string): void;
}

/** Every run of a loader: it works, ends, hangs, fails, is aborted, or says that its answer is private, as its plan says. */
export class Loads {
  readonly #run: Run;
  readonly #faults: Faults;
  readonly #host: LoadsHost;
  /** Looked at after the step: calls that end in the same step have not heard of it yet. */
  readonly #aborted: LoadRecord[] = [];

  constructor(run: Run, faults: Faults, host: LoadsHost) {
    this.#run = run;
    this.#faults = faults;
    this.#host = host;
  }

  /** The loads that were aborted since this was called last. */
  takeAborted(): readonly LoadRecord[] {
    return this.#aborted.splice(0);
  }

  /** Runs the loader of a caller. */
  start(replica: SimulatedReplica, caller: CallRecord, context: LoadContext): Promise<unknown> {
    const { history } = this.#run;
    const { load: plan, key } = caller.plan;
    const id = history.loads.length;
    const token = context.fencingToken;
    const startedSeq = history.note(
      replica.name,
      `load ${id} of ${key} starts for call ${caller.id}: ${plan.ending} in ${plan.durationMs} ms, flight ${context.flightId}, token ${token ?? 'none'}`,
    );
    const load: LoadRecord = {
      ...{
        id,
        caller,
        plan,
        key,
        context,
        token,
        startedSeq,
        replica: replica.name,
        flightId: context.flightId,
        startedAt: this.#run.now(),
      },
      ...{ grantedSeq: this.#host.grantedSeq(key, token) ?? startedSeq, wasMadePrivate: false, end: undefined, aborted: undefined },
    };
    // A first claim cannot tell a server that has forgotten everything that others wait: they load once more.
    const isFresh = history.flights.get(context.flightId)?.claims.length === 1;
    if (token !== undefined && this.#faults.forgot(key) && isFresh) this.#faults.blame(key);
    if (caller.flightId === undefined) this.#host.named(replica, key, context.flightId);
    this.#run.checks.loadStarted(load);
    history.loads.push(load);
    this.#run.history.touch(key);
    if (replica.isDeaf) this.#faults.blame(key); // A leader that cannot be heard to listen is taken over.
    if (plan.onAbort !== 'blind') context.signal.addEventListener('abort', () => this.#abort(load));
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
      if (plan.ending === 'private') this.#run.timeline.schedule(plan.durationMs / 2, replica, () => this.#makePrivate(load));
      if (plan.ending === 'hangs') return;
      this.#run.timeline.schedule(plan.durationMs, replica, () => {
        const hasFailed = plan.ending === 'error';
        this.#loadEnded(load, hasFailed ? 'error' : 'value');
        if (hasFailed) reject(new Error(`load ${load.id} failed`));
        else resolve(valueOf(load));
      });
    });
  }

  #makePrivate(load: LoadRecord): void {
    if (!isRunning(load)) return;
    this.#run.history.note(load.replica, `load ${load.id} says that its answer is private`);
    load.wasMadePrivate = true;
    this.#run.history.touch(load.key);
    load.context.unshareable();
  }

  #loadEnded(load: LoadRecord, how: 'value' | 'error'): void {
    load.end = { at: this.#run.now(), seq: this.#run.history.note(load.replica, `load ${load.id} ends: ${how}`), how };
    this.#run.history.touch(load.key);
  }

  #abort(load: LoadRecord): void {
    const reason: unknown = load.context.signal.reason;
    load.aborted = {
      at: this.#run.now(),
      seq: this.#run.history.note(load.replica, `load ${load.id} is aborted: ${String(reason)}`),
      reason,
    };
    this.#run.history.touch(load.key);
    this.#aborted.push(load);
  }
}

function valueOf(load: LoadRecord): unknown {
  const value = { load: load.id, key: load.key };
  if (load.plan.ending === 'large') return { ...value, padding: 'x'.repeat(2_000) };
  return load.plan.ending === 'untravelable' ? { ...value, method: () => undefined } : value;
}

/** Which load a value is of. */
export function loadOf(value: unknown): number | undefined {
  const load: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'load') : undefined;
  return typeof load === 'number' ? load : undefined;
}
