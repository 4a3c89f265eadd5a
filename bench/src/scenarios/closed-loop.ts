import { startDatabase } from '../database.js';
import type { Fleet } from '../fleet.js';
import { interleaveFleets, type Series } from '../interleave.js';
import type { Result, Target } from '../report/result.js';
import { ageNote, compared, exact } from '../report/words.js';
import { Latencies, median, sum } from '../statistics.js';
import { OURS, systemIds, type SystemId } from '../systems/index.js';
import type { Scenario } from './scenario.js';

const REPLICAS = 4;
const USERS = 1_000;
const HOT_KEYS = 20;
const CONNECTIONS = 10;
const QUERY_MS = 20;
const NONE: SystemId = 'none';

interface Sample {
  readonly perSecond: number;
  readonly p50: number;
  readonly p95: number;
  readonly queriesPerSecond: number;
  readonly failures: number;
}

export const closedLoop: Scenario = {
  what: `${USERS.toLocaleString('en-US')} users on ${HOT_KEYS} hot keys, a database of ${CONNECTIONS} connections x ${QUERY_MS} ms`,
  async run({ quick, systems = systemIds() }) {
    const plan = quick ? { warmUp: 1, rounds: 1 } : { warmUp: 1, rounds: 3 };
    const durationMs = quick ? 2_000 : 4_000;
    const series = await interleaveFleets(systems, REPLICAS, plan, (fleet) => measure(fleet, durationMs));
    return report(series, plan.rounds, durationMs);
  },
};

/** Every slice has a database of its own: queries that a slice left in the queue are not the next one's. */
async function measure(fleet: Fleet, durationMs: number): Promise<Sample> {
  const database = await startDatabase({ connections: CONNECTIONS, queryMs: QUERY_MS });
  try {
    const { replies } = await fleet.together((replica, at) =>
      replica.loop({ users: USERS / REPLICAS, keys: HOT_KEYS, durationMs, databasePort: database.port, at }),
    );
    const latencies = Latencies.merge(replies.map((reply) => reply.latencies));
    return {
      perSecond: latencies.total / (durationMs / 1_000),
      p50: latencies.percentile(0.5),
      p95: latencies.percentile(0.95),
      queriesPerSecond: sum(replies.map(({ loads }) => loads)) / (durationMs / 1_000),
      failures: sum(replies.map(({ failures }) => failures)),
    };
  } finally {
    await database.close();
  }
}

function rowOf({ fleet, samples }: Series<Sample>) {
  const middle = (of: (sample: Sample) => number): number => median(samples.map(of));
  return {
    id: fleet.id,
    name: fleet.system.name,
    age: ageNote(fleet.system),
    perSecond: middle(({ perSecond }) => perSecond),
    p50: middle(({ p50 }) => p50),
    p95: middle(({ p95 }) => p95),
    queries: middle(({ queriesPerSecond }) => queriesPerSecond),
    failures: sum(samples.map(({ failures }) => failures)),
  };
}

type Row = ReturnType<typeof rowOf>;

function report(series: readonly Series<Sample>[], rounds: number, durationMs: number): Result {
  const rows = series.map(rowOf);
  const none = rows.find(({ id }) => id === NONE);
  const ours = rows.find(({ id }) => id === OURS);
  const cells = (row: Row) => [
    row.name,
    Math.round(row.perSecond),
    none && compared(row.perSecond, none.perSecond),
    row.p50,
    row.p95,
    Math.round(row.queries),
    row.failures,
    row.age,
  ];
  return {
    title: 'Closed loop',
    how:
      `${REPLICAS} processes, ${USERS / REPLICAS} users each, who call again as soon as they were answered, for one of ${HOT_KEYS} keys in turn. ` +
      `A load is a query to one database that all share: ${CONNECTIONS} at a time, ${QUERY_MS} ms each, the rest queue. Medians of ${rounds} slices of ${durationMs / 1_000} s. ` +
      `Systems that keep answers for a second are faster here because they answer from memory.`,
    tables: [
      {
        title: '',
        columns: ['system', 'answers/s', '/ no collapsing', 'p50 (ms)', 'p95 (ms)', 'queries/s', 'failed calls', 'answers'],
        rows: rows.map(cells),
      },
    ],
    charts: [
      {
        id: 'closed-loop',
        title: 'Answers per second, 1,000 users, a database that can do 500 queries/s',
        unit: 'answers/s, median; more is better',
        bars: rows.map(({ id, name, perSecond }) => ({ label: name, value: perSecond, isOurs: id === OURS })),
      },
    ],
    targets: ours === undefined || none === undefined ? [] : targets(ours, none),
  };
}

function targets(ours: Row, none: Row): Target[] {
  return [
    {
      what: 'closed loop: answers/s, against no collapsing',
      target: '>= 45x',
      measured: compared(ours.perSecond, none.perSecond),
      met: ours.perSecond >= 45 * none.perSecond,
    },
    { what: 'closed loop: failed calls', target: '0', measured: String(ours.failures), met: ours.failures === 0 },
    {
      what: 'closed loop: p95',
      target: 'far below no collapsing',
      measured: `${exact(ours.p95)} ms, against ${exact(none.p95)} ms`,
      met: ours.p95 < none.p95 / 10,
    },
  ];
}
