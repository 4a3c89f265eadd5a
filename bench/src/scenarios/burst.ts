import { scriptsIn, type Fleet, type FleetCost } from '../fleet.js';
import { interleaveFleets, type Series } from '../interleave.js';
import { median, percentile, sum } from '../statistics.js';
import type { Result, Target } from '../report/result.js';
import { ageNote, compared, exact } from '../report/words.js';
import { FLOOR, OURS, systemIds } from '../systems/index.js';
import type { Scenario } from './scenario.js';

const REPLICAS = 4;
const CALLERS = 250;
const LOAD_MS = 50;

export interface BurstSample {
  readonly p50: number;
  readonly p99: number;
  readonly loads: number;
  readonly failures: number;
  readonly cost: FleetCost;
}

export interface BurstPlan {
  readonly callers: number;
  readonly loadMs: number;
  readonly payloadBytes: number;
}

/** One burst of a key that nobody has asked for before. */
export async function measureBurst(fleet: Fleet, key: string, plan: BurstPlan): Promise<BurstSample> {
  const { replies, cost } = await fleet.together((replica, at) => replica.burst({ key, at, ...plan }));
  const addedMs = replies.flatMap((reply) => reply.addedMs);
  return {
    p50: percentile(addedMs, 0.5),
    p99: percentile(addedMs, 0.99),
    loads: sum(replies.map(({ loads }) => loads)),
    failures: sum(replies.map(({ failures }) => failures)),
    cost,
  };
}

export const burst: Scenario = {
  what: `${REPLICAS} replicas x ${CALLERS} callers of one cold key, a load of ${LOAD_MS} ms`,
  async run({ quick, systems = systemIds() }) {
    const plan = quick ? { warmUp: 1, rounds: 8 } : { warmUp: 2, rounds: 60 };
    const series = await interleaveFleets(systems, REPLICAS, plan, (fleet, round) =>
      measureBurst(fleet, `burst-${round}`, { callers: CALLERS, loadMs: LOAD_MS, payloadBytes: 100 }),
    );
    return report(series, plan.rounds);
  },
};

function report(series: readonly Series<BurstSample>[], rounds: number): Result {
  const rows = series.map(({ fleet, samples }) => ({
    id: fleet.id,
    name: fleet.system.name,
    age: ageNote(fleet.system),
    p50: median(samples.map(({ p50 }) => p50)),
    p99: median(samples.map(({ p99 }) => p99)),
    loads: samples.map(({ loads }) => loads),
    failures: sum(samples.map(({ failures }) => failures)),
    commands: median(samples.map(({ cost }) => cost.commands)),
    scripts: median(samples.map(({ cost }) => scriptsIn(cost))),
    bytesOut: median(samples.map(({ cost }) => cost.bytesOut)),
    cpuMs: median(samples.map(({ cost }) => cost.cpuMs + cost.redisCpuMs)),
  }));
  const floor = rows.find(({ id }) => id === FLOOR);
  const ours = rows.find(({ id }) => id === OURS);
  return {
    title: 'Burst',
    how:
      `${REPLICAS} processes, ${CALLERS} callers each, all at the same moment, of a key that was never asked for; the load takes ${LOAD_MS} ms. ` +
      `Added latency is what comes on top of the load: from the call to the start of the load in the process that loads, and from its end to the answer. ` +
      `Medians of ${rounds} bursts. CPU is of all replicas and Redis.`,
    tables: [
      {
        title: '',
        columns: [
          'system',
          'loads per burst',
          'added p50 (ms)',
          'added p99 (ms)',
          'p50 / floor',
          'p99 / floor',
          'commands',
          'bytes out of Redis',
          'CPU (ms)',
          'failed calls',
          'answers',
        ],
        rows: rows.map((row) => [
          row.name,
          range(row.loads),
          row.p50,
          row.p99,
          floor && compared(row.p50, floor.p50),
          floor && compared(row.p99, floor.p99),
          row.commands,
          row.bytesOut,
          row.cpuMs,
          row.failures,
          row.age,
        ]),
      },
    ],
    charts: [
      {
        id: 'burst-loads',
        title: 'Loads per burst of 1,000 callers',
        unit: 'loads, median; less is better',
        bars: rows.map(({ id, name, loads }) => ({ label: name, value: median(loads), isOurs: id === OURS })),
      },
      {
        id: 'burst-added',
        title: 'Latency added to the load, p99',
        unit: 'ms, median of bursts; less is better',
        bars: rows.map(({ id, name, p99 }) => ({ label: name, value: p99, isOurs: id === OURS })),
      },
    ],
    targets: ours === undefined || floor === undefined ? [] : targets(ours, floor),
  };
}

type Row = {
  readonly p50: number;
  readonly p99: number;
  readonly loads: readonly number[];
  readonly scripts: number;
  readonly commands: number;
};

function targets(ours: Row, floor: Row): Target[] {
  const ratio = (what: 'p50' | 'p99'): Target => ({
    what: `burst: added latency ${what}, against SET NX + PUBLISH by hand`,
    target: '<= 1.5x',
    measured: compared(ours[what], floor[what]),
    met: ours[what] <= 1.5 * floor[what],
  });
  return [
    {
      what: 'burst: loads in every burst',
      target: 'exactly 1',
      measured: range(ours.loads),
      met: ours.loads.every((loads) => loads === 1),
    },
    ratio('p50'),
    ratio('p99'),
    {
      what: `burst: scripts per flight with ${REPLICAS} replicas, each a round trip`,
      target: `R + 1 = ${REPLICAS + 1}`,
      measured: `${exact(ours.scripts)}, in ${exact(ours.commands)} commands`,
      met: ours.scripts <= REPLICAS + 1,
    },
  ];
}

/** All the same, or from the least to the most. */
export function range(values: readonly number[]): string {
  const least = Math.min(...values);
  const most = Math.max(...values);
  return least === most ? String(least) : `${least} to ${most}`;
}
