import type { SimulatedReplica } from './replica.js';
import type { Run } from './run.js';

/** Invalidations that replicas make, and what they are told about them. */
export class Invalidations {
  readonly #run: Run;
  /** The floor that the last one got, per replica and key. */
  readonly #floors = new Map<string, number>();

  constructor(run: Run) {
    this.#run = run;
  }

  async invalidate(replica: SimulatedReplica, key: string): Promise<void> {
    const begunSeq = this.#run.history.note(replica.name, `invalidates ${key}`);
    const floorBefore = this.#run.history.floorAt(key, Infinity);
    try {
      await replica.collapser.invalidate(key);
    } catch (error) {
      this.#run.history.note(replica.name, `could not invalidate ${key}: ${String(error)}`);
      this.#run.checks.failedInvalidations.set(`${replica.name} ${key}`, begunSeq);
      return;
    }
    const floor = this.#floors.get(`${replica.name} ${key}`) ?? floorBefore;
    const seq = this.#run.history.note(replica.name, `has invalidated ${key}`);
    this.#run.checks.learn(replica.name, key, floor, seq);
    this.#run.checks.acknowledge(key, floor, seq);
  }

  /** The server has answered one. */
  replied(replica: SimulatedReplica, key: string, floor: number): void {
    this.#floors.set(`${replica.name} ${key}`, floor);
  }
}
