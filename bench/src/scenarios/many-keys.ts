import { scriptsIn, type Fleet, type FleetCost } from '../fleet.js';
import { interleaveFleets, type Series } from '../interleave.js';
import type { SweepRequest } from '../replica-protocol.js';
import type { Result, Table, Target } from '../report/result.js';
import { ageNote, compared } from '../report/words.js';
import { median, percentile, sum } from '../statistics.js';
import { FLOOR, OURS, systemIds } from '../systems/index.js';
import { range } from './burst.js';
import type { Scenario } from './scenario.js';

const REPLICAS = 4;

/** Long enough that no replica is still asking when the first loads end: then exactly one load per key is right. */
const AT_ONCE = { keys: 2_000, loadMs: 1_000 };
/** Few enough at a time that every replica has asked long before the load ends. */
const STEADY = { keys: 500, loadMs: 50, wave: { keys: 10, everyMs: 20 } };

interface Sample {
  readonly tookMs: number;
  readonly addedMs: readonly number[];
  readonly loads: number;
  readonly failures: number;
  readonly cost: FleetCost;
}

export const manyKeys: Scenario = {
  what: `${AT_ONCE.keys.toLocaleString('en-US')} keys x ${REPLICAS} replicas, at once and wave by wave: what a flight costs`,
  async run({ quick, systems = systemIds() }) {
    const plan = quick ? { warmUp: 1, rounds: 1 } : { warmUp: 2, rounds: 7 };
    // One after the other, on replicas of its own each: what a crowd leaves behind is not to count where there is none.
    const [steady, atOnce] = [await rowsOf(STEADY), await rowsOf(AT_ONCE)];
    return report(atOnce, steady, plan.rounds);

    async function rowsOf(sweep: Omit<SweepRequest, 'at' | 'prefix'>): Promise<Row[]> {
      const series = await interleaveFleets(systems, REPLICAS, plan, (fleet, round) =>
        measure(fleet, { ...sweep, prefix: `round-${round}` }),
      );
      return series.map((each) => rowOf(each, sweep.keys));
    }
  },
};

async function measure(fleet: Fleet, sweep: Omit<SweepRequest, 'at'>): Promise<Sample> {
  const { replies, startedAt, cost } = await fleet.together((replica, at) => replica.sweep({ ...sweep, at }));
  return {
    tookMs: Math.max(...replies.map(({ endedAt }) => endedAt)) - startedAt - sweep.loadMs,
    addedMs: replies.flatMap(({ addedMs }) => addedMs),
    loads: sum(replies.map(({ loads }) => loads)),
    failures: sum(replies.map(({ failures }) => failures)),
    cost,
  };
}

function rowOf({ fleet, samples }: Series<Sample>, keys: number) {
  const perKey = (of: (cost: FleetCost) => number): number => median(samples.map(({ cost }) => of(cost))) / keys;
  return {
    id: fleet.id,
    name: fleet.system.name,
    age: ageNote(fleet.system),
    flights: median(samples.map(({ tookMs }) => keys / (tookMs / 1_000))),
    addedMs: median(samples.map(({ addedMs }) => percentile(addedMs, 0.5))),
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

function report(atOnce: readonly Row[], steady: readonly Row[], rounds: number): Result {
  return {
    title: 'Many keys',
    how:
      `${REPLICAS} processes ask for the same keys at the same moments; a load costs nothing but time. ` +
      `Medians of ${rounds} rounds; commands, bytes and CPU are per key.`,
    tables: [atOnceTable(atOnce), steadyTable(steady)],
    charts: [
      {
        id: 'many-keys-loads',
        title: 'Loads for 2,000 keys that 4 replicas ask for',
        unit: 'loads, median; less is better',
        bars: atOnce.map(({ id, name, loads }) => ({ label: name, value: median(loads), isOurs: id === OURS })),
      },
    ],
    targets: targets(atOnce, steady),
  };
}

/** Each flight outlives a recheck of its followers and a renewal of its lease. */
function atOnceTable(rows: readonly Row[]): Table {
  return {
    ...tableOf(rows, 'flights/s', ({ flights }) => flights),
    title: `${AT_ONCE.keys.toLocaleString('en-US')} keys at once, loads of ${AT_ONCE.loadMs.toLocaleString('en-US')} ms`,
    note:
      'Flights per second are the keys by the time until the last answer, less the load. A load is longer than `recheckMs` and than a third of `leaseMs`: ' +
      'oneflight looks once for each follower whether a message was lost, and renews each lease once.',
  };
}

function steadyTable(rows: readonly Row[]): Table {
  const { keys, loadMs, wave } = STEADY;
  return {
    ...tableOf(rows, 'added p50 (ms)', ({ addedMs }) => addedMs),
    title: `${keys} keys, ${wave.keys} each ${wave.everyMs} ms, loads of ${loadMs} ms`,
  };
}

function tableOf(rows: readonly Row[], what: string, of: (row: Row) => number): Pick<Table, 'columns' | 'rows'> {
  const floor = rows.find(({ id }) => id === FLOOR);
  return {
    columns: ['system', 'loads', what, '/ floor', 'commands', 'bytes out', 'CPU (ms)', 'CPU of Redis (ms)', 'failed calls', 'answers'],
    rows: rows.map((row) => [
      ...[row.name, range(row.loads), of(row), floor && compared(of(row), of(floor))],
      ...[row.commands, row.bytes, row.cpuMs, row.redisCpuMs, row.failures, row.age],
    ]),
  };
}

function targets(atOnce: readonly Row[], steady: readonly Row[]): Target[] {
  const [ours, oursSteady] = [atOnce, steady].map((rows) => rows.find(({ id }) => id === OURS));
  const floor = atOnce.find(({ id }) => id === FLOOR);
  if (ours === undefined || oursSteady === undefined || floor === undefined) return [];
  return [
    {
      what: 'many keys at once: loads',
      target: `exactly ${AT_ONCE.keys}`,
      measured: range(ours.loads),
      met: ours.loads.every((loads) => loads === AT_ONCE.keys),
    },
    {
      what: 'many keys at once: flights/s, against SET NX + PUBLISH by hand',
      target: '>= 1.0x',
      measured: compared(ours.flights, floor.flights),
      met: ours.flights >= floor.flights,
    },
    {
      what: 'many keys, short loads: loads',
      target: `exactly ${STEADY.keys}`,
      measured: range(oursSteady.loads),
      met: oursSteady.loads.every((loads) => loads === STEADY.keys),
    },
    {
      what: 'many keys, short loads: scripts per flight, each a round trip',
      target: `<= R + 1 = ${REPLICAS + 1}`,
      measured: oursSteady.scripts.toFixed(2),
      met: oursSteady.scripts <= REPLICAS + 1.005,
    },
  ];
}
