import { isLinearizable, readsThatMiss, type RegisterOperation } from '@oneflight/testkit';
import { describe, expect, it } from 'vitest';
import { createCollapser, type Collapser, type RunOptions } from '../../src/index.js';
import { ManualClock, memoryHub, type Network } from '../../src/testing/index.js';
import { Random } from './random.js';

/*
 * A register that everybody writes directly and reads through a collapser, on three replicas, over a slow network that
 * loses messages. Its history tells what each freshness promises to somebody who looks from outside.
 */
const SEEDS = 150;
const OPERATIONS = 40;
const UNTIL_MS = 1_200;

describe('a register that is read through a collapser', () => {
  it('is linearizable for strict reads, whoever writes it and tells nobody', async () => {
    expect(await outcomes({ freshness: 'strict', invalidates: false })).toEqual({ missing: 0, linearizable: SEEDS });
  });

  it('never hides a write from confirmed reads once its invalidation has resolved', async () => {
    const { missing } = await outcomes({ freshness: 'confirmed', invalidates: true });
    expect(missing).toBe(0);
  });

  it('hides writes from reads that join: what the two above do is seen here to be needed', async () => {
    const untold = await outcomes({ freshness: 'join', invalidates: false });
    expect(untold.missing).toBeGreaterThan(SEEDS / 2);
    expect(untold.linearizable).toBeLessThan(SEEDS / 2);
    const told = await outcomes({ freshness: 'join', invalidates: true });
    expect(told.missing).toBeGreaterThan(0);
  });
});

interface Mode {
  readonly freshness: NonNullable<RunOptions['freshness']>;
  readonly invalidates: boolean;
}

/** Of all seeds, in how many a read missed a write, and how many are linearizable. */
async function outcomes(mode: Mode): Promise<{ missing: number; linearizable: number }> {
  const counts = { missing: 0, linearizable: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const operations = await play(new Random(seed), mode);
    expect(operations).toHaveLength(OPERATIONS);
    if (readsThatMiss(operations).length > 0) counts.missing++;
    if (isLinearizable(operations)) counts.linearizable++;
  }
  return counts;
}

async function play(random: Random, { freshness, invalidates }: Mode): Promise<readonly RegisterOperation[]> {
  const clock = new ManualClock();
  const hub = memoryHub({ clock, network: lossy(clock, random) });
  const replicas = [1, 2, 3].map(() => createCollapser({ coordinator: hub.coordinator(), random: () => random.next() }));
  const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.setTimer(resolve, ms));
  const operations: RegisterOperation[] = [];
  let register: string | null = null;
  let moments = 0;
  const write = async (replica: Collapser, value: string): Promise<void> => {
    const from = moments++;
    await pause(random.whole(0, 5));
    register = value;
    if (invalidates) await replica.invalidate('register');
    operations.push({ kind: 'write', value, from, until: moments++ });
  };
  const read = async (replica: Collapser): Promise<void> => {
    const from = moments++;
    const load = async (): Promise<string | null> => {
      const seen = register;
      await pause(random.whole(5, 80));
      return seen;
    };
    const value = await replica.run('register', load, { freshness });
    operations.push({ kind: 'read', value: value ?? undefined, from, until: moments++ });
  };
  const all = Array.from({ length: OPERATIONS }, async (_, number) => {
    await pause(random.whole(0, UNTIL_MS));
    const replica = random.pick(replicas as [Collapser, ...Collapser[]]);
    await (random.chance(0.25) ? write(replica, `value ${number}`) : read(replica));
  });
  await clock.advance(UNTIL_MS + 20_000);
  await Promise.all(all);
  const closed = Promise.all(replicas.map((replica) => replica.close()));
  await clock.advance(5_000);
  await closed;
  return operations;
}

/** Every leg takes its time; one message in twenty never arrives. */
function lossy(clock: ManualClock, random: Random): Network {
  return {
    send(leg, deliver) {
      if (leg.kind === 'message' && random.chance(0.05)) return;
      clock.setTimer(deliver, random.whole(0, 15));
    },
  };
}
