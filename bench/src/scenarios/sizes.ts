import type { Fleet } from '../fleet.js';
import { interleaveFleets } from '../interleave.js';
import type { Cell } from '../report/result.js';
import { compared } from '../report/words.js';
import { median, sum } from '../statistics.js';
import { FLOOR, OURS, type SystemId } from '../systems/index.js';
import { measureBurst, range, type BurstPlan, type BurstSample } from './burst.js';
import type { Scenario } from './scenario.js';

/** Those that give an answer to all replicas over Redis by a message. */
const SUBJECTS: readonly SystemId[] = [OURS, FLOOR, 'dlock'];
const COLUMNS = [
  'system',
  'loads per burst',
  'added p50 (ms)',
  'added p99 (ms)',
  'p99 / floor',
  'commands',
  'bytes out of Redis',
  'failed calls',
];
const SIZES = [
  { label: '1 KB', payloadBytes: 1_000 },
  { label: '100 KB', payloadBytes: 100_000 },
  { label: '4 MB', payloadBytes: 4_000_000 },
] as const;

export const payloadSizes: Scenario = {
  what: 'a burst on 4 replicas with values of 1 KB, 100 KB and 4 MB',
  async run({ quick, systems = SUBJECTS }) {
    const plan = quick ? { warmUp: 1, rounds: 3 } : { warmUp: 3, rounds: 15 };
    const bursts = SIZES.map(({ payloadBytes }): BurstPlan => ({ callers: 25, loadMs: 50, payloadBytes }));
    const series = await interleaveFleets(systems, 4, plan, (fleet, round) => burstsOf(fleet, round, bursts));
    const replicasThatWait = 3;
    return {
      title: 'Payload sizes',
      how: `4 processes, 25 callers each, all at the same moment, one cold key, a load of 50 ms whose value is a text of the size. Medians of ${plan.rounds} bursts. What must leave Redis at least is the payload times ${replicasThatWait}.`,
      tables: SIZES.map(({ label }, index) => ({
        title: label,
        columns: COLUMNS,
        rows: rowsOf(series.map(({ fleet, samples }) => ({ fleet, samples: samples.flatMap((sample) => sample[index] ?? []) }))),
      })),
      charts: [],
      targets: SIZES.flatMap(({ label, payloadBytes }, index) => {
        const ours = series.find(({ fleet }) => fleet.id === OURS);
        if (ours === undefined) return [];
        const bytes = median(ours.samples.flatMap((sample) => sample[index]?.cost.bytesOut ?? []));
        const ratio = bytes / (payloadBytes * replicasThatWait);
        // What comes on top is some hundred bytes for each replica, whatever the payload.
        const met = bytes <= 1.01 * payloadBytes * replicasThatWait + 2_000;
        return [
          { what: `bytes out of Redis per flight of ${label}`, target: 'payload x (R - 1)', measured: `${ratio.toFixed(2)}x that`, met },
        ];
      }),
    };
  },
};

const CROWD_SIZES = [2, 4, 8, 16] as const;

export const replicas: Scenario = {
  what: 'a burst on 2, 4, 8 and 16 replicas',
  async run({ quick, systems = SUBJECTS }) {
    const plan = quick ? { warmUp: 1, rounds: 3 } : { warmUp: 3, rounds: 15 };
    const crowds = [];
    for (const size of CROWD_SIZES) {
      const bursts = [{ callers: 25, loadMs: 50, payloadBytes: 100 }];
      const series = await interleaveFleets(systems, size, plan, (fleet, round) => burstsOf(fleet, round, bursts));
      crowds.push({ size, series: series.map(({ fleet, samples }) => ({ fleet, samples: samples.flat() })) });
    }
    return {
      title: 'Replicas',
      how: `2 to 16 processes, 25 callers each, all at the same moment, one cold key, a load of 50 ms. Medians of ${plan.rounds} bursts.`,
      tables: crowds.map(({ size, series }) => ({ title: `${size} replicas`, columns: COLUMNS, rows: rowsOf(series) })),
      charts: [],
      targets: crowds.flatMap(({ size, series }) => {
        const ours = series.find(({ fleet }) => fleet.id === OURS);
        if (ours === undefined) return [];
        const loads = ours.samples.map((sample) => sample.loads);
        return [
          {
            what: `loads per burst on ${size} replicas`,
            target: 'exactly 1',
            measured: range(loads),
            met: loads.every((count) => count === 1),
          },
        ];
      }),
    };
  },
};

async function burstsOf(fleet: Fleet, round: number, plans: readonly BurstPlan[]): Promise<BurstSample[]> {
  const samples: BurstSample[] = [];
  for (const [index, plan] of plans.entries()) samples.push(await measureBurst(fleet, `sized-${index}-${round}`, plan));
  return samples;
}

function rowsOf(series: readonly { readonly fleet: Pick<Fleet, 'id' | 'system'>; readonly samples: readonly BurstSample[] }[]): Cell[][] {
  const middle = (samples: readonly BurstSample[], of: (sample: BurstSample) => number): number => median(samples.map(of));
  const floor = series.find(({ fleet }) => fleet.id === FLOOR);
  return series.map(({ fleet, samples }) => [
    fleet.system.name,
    range(samples.map(({ loads }) => loads)),
    middle(samples, ({ p50 }) => p50),
    middle(samples, ({ p99 }) => p99),
    floor &&
      compared(
        middle(samples, ({ p99 }) => p99),
        middle(floor.samples, ({ p99 }) => p99),
      ),
    middle(samples, ({ cost }) => cost.commands),
    Math.round(middle(samples, ({ cost }) => cost.bytesOut)),
    sum(samples.map(({ failures }) => failures)),
  ]);
}
