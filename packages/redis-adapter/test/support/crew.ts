import { type Collapser, type Coordinator, createCollapser, type FlightResult } from '@oneflight/core';

/** Replicas in this process, each with connections of its own, and a loader that begins and ends when the test says so. */
export class Crew {
  readonly replicas: readonly Collapser[];
  /** How many loads were begun of each key, in order. */
  readonly loads: string[] = [];
  #started = barrier();
  #finish = barrier();

  constructor(size: number, coordinator: () => Coordinator) {
    this.replicas = Array.from({ length: size }, () => createCollapser({ name: 'crew', coordinator: coordinator() }));
  }

  /** Resolves when a load has begun since `hold`. */
  get loadStarted(): Promise<void> {
    return this.#started.passed;
  }

  letLoadsFinish(): void {
    this.#finish.open();
  }

  /** Loads that begin from now on wait for `letLoadsFinish`. */
  hold(): void {
    this.#started = barrier();
    this.#finish = barrier();
  }

  /** `each` calls of one key on every replica at once. */
  burst(key: string, each = 5): Promise<PromiseSettledResult<FlightResult<string>>[]> {
    const load = async (): Promise<string> => {
      this.loads.push(key);
      this.#started.open();
      await this.#finish.passed;
      return `value of ${key}`;
    };
    const calls = this.replicas.flatMap((replica) => Array.from({ length: each }, () => replica.flight(key, load)));
    return Promise.allSettled(calls);
  }

  /** How many loads were begun of a key. */
  loadsOf(key: string): number {
    return this.loads.filter((loaded) => loaded === key).length;
  }

  async close(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.close({ drainMs: 1_000 })));
  }
}

/** What the calls of a burst came to, each kind once. */
export function answers(results: readonly PromiseSettledResult<FlightResult<string>>[]): unknown[] {
  return [...new Set(results.map((result) => (result.status === 'fulfilled' ? result.value.value : result.reason)))];
}

function barrier(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}
