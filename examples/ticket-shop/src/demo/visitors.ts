import type { Child } from './child.js';
import { blocks, seatsOf, type Stage } from './measure.js';

/** What the load generator is told: so many visitors from now on, none of before. It says `visitors-set`. */
export interface VisitorsOrder {
  readonly port: number;
  readonly visitors: number;
  /** How long each of them looks at an answer before it asks again, on average. */
  readonly thinkMs: number;
  readonly paths: readonly string[];
}

/** A steady flow of requests: each visitor waits for its answer, thinks, and asks for some block again. */
export interface Visitors {
  readonly count: number;
  /** Resolves when they are there, or when the last of them has its answer. */
  set(on: boolean): Promise<void>;
}

const PER_REPLICA = 100;
const THINK_MS = 2_000;
const BLOCKS = 4;

export async function createVisitors({ generator, proxyPort, load }: Stage): Promise<Visitors> {
  const targets = await Promise.all(blocks(BLOCKS).map((block) => seatsOf(block)));
  const order = { port: proxyPort, thinkMs: THINK_MS, paths: targets.map(({ path }) => path) };
  const count = PER_REPLICA * load.replicas;
  let isOn = false;
  let last: Promise<void> = Promise.resolve();

  async function apply(on: boolean): Promise<void> {
    if (on === isOn) return;
    isOn = on;
    await tell(generator, { ...order, visitors: on ? count : 0 });
  }

  // One order after the other: the generator's answers carry no number.
  return { count, set: (on) => (last = last.then(() => apply(on))) };
}

async function tell(generator: Child, order: VisitorsOrder): Promise<void> {
  const set = generator.next('visitors-set');
  generator.send({ kind: 'visitors', ...order });
  await set;
}
