import { startFleet, type Fleet } from './fleet.js';
import type { SystemId } from './systems/index.js';

/** What one system gave, round by round. */
export interface Series<S> {
  readonly fleet: Pick<Fleet, 'id' | 'system'>;
  readonly samples: readonly S[];
}

/**
 * Measures one system after the other, round by round, so that whatever else the machine does meets all of them; each round
 * begins with another one. The first rounds warm up and are thrown away.
 */
export async function interleave<T, S>(
  subjects: readonly T[],
  { warmUp, rounds }: { readonly warmUp: number; readonly rounds: number },
  measure: (subject: T, round: number) => Promise<S>,
): Promise<S[][]> {
  const samples = subjects.map((): S[] => []);
  for (let round = 0; round < warmUp + rounds; round += 1) {
    for (let turn = 0; turn < subjects.length; turn += 1) {
      const index = (turn + round) % subjects.length;
      const subject = subjects[index];
      if (subject === undefined) continue;
      const sample = await measure(subject, round);
      if (round >= warmUp) samples[index]?.push(sample);
    }
  }
  return samples;
}

/** Starts a fleet of each system, measures them interleaved, and stops them all whatever happens. */
export async function interleaveFleets<S>(
  ids: readonly SystemId[],
  size: number,
  plan: { readonly warmUp: number; readonly rounds: number },
  measure: (fleet: Fleet, round: number) => Promise<S>,
): Promise<Series<S>[]> {
  const fleets: Fleet[] = [];
  try {
    for (const id of ids) fleets.push(await startFleet(id, size));
    for (const fleet of fleets) await answerBursts(fleet);
    const samples = await interleave(fleets, plan, measure);
    return fleets.map((fleet, index) => ({ fleet, samples: samples[index] ?? [] }));
  } finally {
    await Promise.all(fleets.map((fleet) => fleet.close()));
  }
}

/** Until the code of a system is compiled its calls take many times the CPU: what is compared is a service that runs. */
async function answerBursts(fleet: Fleet): Promise<void> {
  for (let burst = 0; burst < WARM_UP.bursts; burst += 1) {
    const { callers, loadMs } = WARM_UP;
    await fleet.together((replica, at) => replica.burst({ key: `warm-up-${burst}`, callers, loadMs, payloadBytes: 100, at }));
  }
}

/** After so many the CPU of a burst stays about the same, with every system. */
export const WARM_UP = { bursts: 30, callers: 250, loadMs: 20 } as const;
