import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createCollapser, type Collapser } from '../../src/index.js';
import { memoryHub, type ManualClock, type MemoryCoordinator } from '../../src/testing/index.js';

/*
 * Calls of many keys at random moments, with random overlaps, loads that need some time, and messages and replies that come
 * late and in any order. In some runs replicas crash or close in the middle. A run that fails prints its seed and its plan.
 */
const KEYS = 8;
const REPLICAS = 4;

// Replicas that crash are out of reach of the coordinator, and say so.
beforeAll(() => void vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined));
afterAll(() => void vi.restoreAllMocks());

interface CallPlan {
  readonly replica: number;
  readonly atMs: number;
  readonly ids: readonly number[];
  readonly loadMs: number;
  /** How its loader answers: all at once, or key by key. */
  readonly yields: boolean;
}

interface Fault {
  readonly kind: 'crash' | 'close';
  readonly replica: number;
  readonly atMs: number;
}

interface LoadRecord {
  readonly id: number;
  readonly replica: number;
  readonly fromMs: number;
  toMs: number;
}

const calls: fc.Arbitrary<CallPlan[]> = fc.array(
  fc.record({
    replica: fc.nat(REPLICAS - 1),
    atMs: fc.oneof(fc.constant(0), fc.nat(1_500)),
    ids: fc.uniqueArray(fc.nat(KEYS - 1), { minLength: 1, maxLength: KEYS }),
    loadMs: fc.nat(800),
    yields: fc.boolean(),
  }),
  { minLength: 2, maxLength: 10 },
);
const faults: fc.Arbitrary<Fault[]> = fc.array(
  fc.record({ kind: fc.constantFrom('crash' as const, 'close' as const), replica: fc.nat(REPLICAS - 2), atMs: fc.nat(2_000) }),
  { minLength: 1, maxLength: 3 },
);
const delays = fc.infiniteStream(fc.oneof(fc.constant(0), fc.nat(40)));
const chance = fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true }));

it.each([
  ['without a fault', fc.constant([])],
  ['with replicas that crash and close', faults],
] as const)('runMany %s: every call ends with its keys, and no key is loaded twice at the same time', async (_, which) => {
  const property = fc.asyncProperty(calls, which, delays, chance, async (plan, trouble, delay, drawn) => {
    const run = new Run(
      () => delay.next().value ?? 0,
      () => drawn.next().value ?? 0,
    );
    for (const fault of trouble) run.plan(fault);
    const answers = plan.map((call) => run.call(call));
    await run.clock.advance(20_000);
    for (const [index, call] of plan.entries()) {
      const answer = await Promise.race([answers[index], Promise.resolve('waits')]);
      const expected = run.endedAt(call.replica) === undefined ? call.ids.map((id) => [id, `seat ${id}`]) : expect.anything();
      expect(answer, `call ${index} of replica ${call.replica}`).toEqual(expected);
    }
    expect(run.overlaps()).toEqual([]);
    await run.close();
  });
  await fc.assert(property, { numRuns: 80, seed: 20_261_121 });
});

class Run {
  readonly clock: ManualClock;
  readonly #coordinators: readonly MemoryCoordinator[];
  readonly #replicas: readonly Collapser[];
  readonly #loads: LoadRecord[] = [];
  readonly #endedAt = new Map<number, number>();

  constructor(delayMs: () => number, random: () => number) {
    const hub = memoryHub({ network: { send: (_, deliver) => void hub.clock.setTimer(deliver, delayMs()) } });
    this.clock = hub.clock;
    this.#coordinators = Array.from({ length: REPLICAS }, () => hub.coordinator());
    this.#replicas = this.#coordinators.map((coordinator) => createCollapser({ coordinator, random }));
  }

  /** Resolves with the call's entries; a replica that ends takes its calls with it. */
  async call({ replica, atMs, ids, loadMs, yields }: CallPlan): Promise<unknown> {
    await this.#until(atMs);
    const load = (toLoad: readonly number[]) =>
      yields ? this.#yieldEach(replica, toLoad, loadMs) : this.#loadAll(replica, toLoad, loadMs);
    try {
      return [...((await this.#replicas[replica]?.runMany(ids, load, { key: (id) => ['seat', id] })) ?? [])];
    } catch (error) {
      if (this.#endedAt.has(replica)) return 'ended with its replica';
      throw error;
    }
  }

  plan({ kind, replica, atMs }: Fault): void {
    this.clock.setTimer(() => {
      if (this.#endedAt.has(replica)) return;
      this.#endedAt.set(replica, this.clock.now());
      if (kind === 'crash') this.#coordinators[replica]?.crash();
      else void this.#replicas[replica]?.close({ drainMs: 0 });
    }, atMs);
  }

  endedAt(replica: number): number | undefined {
    return this.#endedAt.get(replica);
  }

  /** Loads of one key that ran at the same time in processes that lived. */
  overlaps(): [LoadRecord, LoadRecord][] {
    const found: [LoadRecord, LoadRecord][] = [];
    const lived = this.#loads.flatMap((load) => {
      const endedAt = this.#endedAt.get(load.replica) ?? Infinity;
      return load.fromMs < endedAt ? [{ ...load, toMs: Math.min(load.toMs, endedAt) }] : [];
    });
    for (const [index, one] of lived.entries()) {
      for (const other of lived.slice(index + 1)) {
        if (one.id === other.id && one.fromMs < other.toMs && other.fromMs < one.toMs) found.push([one, other]);
      }
    }
    return found;
  }

  async close(): Promise<void> {
    const closed = Promise.all(this.#replicas.map((replica) => replica.close({ drainMs: 0 })));
    await this.clock.advance(10_000);
    await closed;
    expect(this.#replicas.map((replica) => replica.stats().flights)).toEqual(Array(REPLICAS).fill(0));
    expect(this.clock.pending, 'timers left').toBe(0);
  }

  async #loadAll(replica: number, ids: readonly number[], loadMs: number): Promise<Map<number, string>> {
    const begun = ids.map((id) => this.#begin(replica, id));
    await this.#until(this.clock.now() + loadMs);
    for (const load of begun) load.toMs = this.clock.now();
    return new Map(ids.map((id) => [id, `seat ${id}`]));
  }

  async *#yieldEach(replica: number, ids: readonly number[], loadMs: number): AsyncGenerator<readonly [number, string]> {
    const begun = ids.map((id) => this.#begin(replica, id));
    for (const load of begun) {
      await this.#until(this.clock.now() + loadMs / ids.length);
      load.toMs = this.clock.now();
      yield [load.id, `seat ${load.id}`];
    }
  }

  #begin(replica: number, id: number): LoadRecord {
    const load = { id, replica, fromMs: this.clock.now(), toMs: Infinity };
    this.#loads.push(load);
    return load;
  }

  #until(atMs: number): Promise<void> {
    return new Promise((resolve) => void this.clock.setTimer(resolve, Math.max(0, atMs - this.clock.now())));
  }
}
