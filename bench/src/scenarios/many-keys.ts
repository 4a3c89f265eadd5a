import { scriptsIn, type Fleet, type FleetCost } from '../fleet.js';
import { interleaveFleets, type Series } from '../interleave.js';
import type { Result, Target } from '../report/result.js';
import { ageNote, compared } from '../report/words.js';
import { median, sum } from '../statistics.js';
import { FLOOR, OURS, systemIds } from '../systems/index.js';
import { range } from './burst.js';
import type { Scenario } from './scenario.js';

const REPLICAS = 4;
const KEYS = 2_000;
/** Long enough that no replica is still asking when the first loads end: then exactly one load per key is right. */
const LOAD_MS = 1_000;

interface Sample {
  readonly flightsPerSecond: number;
  readonly loads: number;
  readonly failures: number;
  readonly cost: FleetCost;
}

export const manyKeys: Scenario = {
  what: `${KEYS.toLocaleString('en-US')} keys x ${REPLICAS} replicas at once: what a flight costs`,
  async run({ quick, systems = systemIds() }) {
    const plan = quick ? { warmUp: 1, rounds: 1 } : { warmUp: 2, rounds: 7 };
    return report(await interleaveFleets(systems, REPLICAS, plan, measure), plan.rounds);
  },
};

async function measure(fleet: Fleet, round: number): Promise<Sample> {
  const { replies, startedAt, cost } = await fleet.together((replica, at) =>
    replica.sweep({ prefix: `round-${round}`, keys: KEYS, loadMs: LOAD_MS, at }),
  );
  const tookMs = Math.max(...replies.map(({ endedAt }) => endedAt)) - startedAt - LOAD_MS;
  return {
    flightsPerSecond: KEYS / (tookMs / 1_000),
    loads: sum(replies.map(({ loads }) => loads)),
    failures: sum(replies.map(({ failures }) => failures)),
    cost,
  };
}

function rowOf({ fleet, samples }: Series<Sample>) {
  const perKey = (of: (cost: FleetCost) => number): number => median(samples.map(({ cost }) => of(cost))) / KEYS;
  return {
    id: fleet.id,
    name: fleet.system.name,
    age: ageNote(fleet.system),
    flights: median(samples.map(({ flightsPerSecond }) => flightsPerSecond)),
    loads: samples.map(({ loads }) => loads),
    failures: sum(samples.map(({ failures }) => failures)),
    scripts: perKey(scriptsIn),
    commands: perKey(({ commands }) => commands),
    bytes: perKey(({ bytesOut }) => bytesOut),
    cpuMs: perKey(({ cpuMs }) => cpuMs),
    redisCpuMs: perKey(({ redisCpuMs }) => redisCpuMs),
  };
}

type Row = ReturnType<typeof rowOf>;

function report(series: readonly Series<Sample>[], rounds: number): Result {
  const rows = series.map(rowOf);
  const floor = rows.find(({ id }) => id === FLOOR);
  const ours = rows.find(({ id }) => id === OURS);
  const cells = (row: Row) => [
    row.name,
    range(row.loads),
    row.flights,
    floor && compared(row.flights, floor.flights),
    row.commands,
    row.bytes,
    row.cpuMs,
    row.redisCpuMs,
    row.failures,
    row.age,
  ];
  return {
    title: 'Many keys',
    how:
      `${REPLICAS} processes ask for the same ${KEYS.toLocaleString('en-US')} keys at the same moment; each load takes ${LOAD_MS} ms and costs nothing. ` +
      `Flights per second are the keys by the time until the last answer, less the load. Medians of ${rounds} rounds; all but the flights are per key.`,
    tables: [
      {
        title: '',
        columns: [
          'system',
          'loads',
          'flights/s',
          '/ floor',
          'commands',
          'bytes out',
          'CPU (ms)',
          'CPU of Redis (ms)',
          'failed calls',
          'answers',
        ],
        rows: rows.map(cells),
      },
    ],
    charts: [
      {
        id: 'many-keys-loads',
        title: 'Loads for 2,000 keys that 4 replicas ask for',
        unit: 'loads, median; less is better',
        bars: rows.map(({ id, name, loads }) => ({ label: name, value: median(loads), isOurs: id === OURS })),
      },
    ],
    targets: ours === undefined || floor === undefined ? [] : targets(ours, floor),
  };
}

function targets(ours: Row, floor: Row): Target[] {
  return [
    { what: 'many keys: loads', target: `exactly ${KEYS}`, measured: range(ours.loads), met: ours.loads.every((loads) => loads === KEYS) },
    {
      what: 'many keys: flights/s, against SET NX + PUBLISH by hand',
      target: '>= 1.0x',
      measured: compared(ours.flights, floor.flights),
      met: ours.flights >= floor.flights,
    },
    {
      what: 'many keys: scripts per flight, each a round trip',
      target: `<= R + 1 = ${REPLICAS + 1}`,
      measured: ours.scripts.toFixed(2),
      met: ours.scripts <= REPLICAS + 1.005,
    },
  ];
}
