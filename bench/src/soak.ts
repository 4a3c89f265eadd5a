import { type Collapser, createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { Redis } from 'ioredis6';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { NODES } from './arguments.js';
import { exact } from './report/words.js';
import type { Target } from './report/result.js';
import { asText } from './report/text.js';
import { factsOfMachine } from './report/machine.js';
import { slopeOf } from './soak/heap.js';
import { keysLeft, usedMemory } from './soak/redis-keys.js';
import { type Course, type Sample, soak } from './soak/soak.js';
import { KEYS_OF_A_KIND, TURNS } from './soak/turns.js';

/*
 * What is left in memory after millions of flights of all kinds: nothing that grows with their number. First without a
 * coordinator, then with two replicas in this process over a Redis of its own.
 */
const HELP = `npm run soak -- [--flights N] [--redis N] [--quick] [--node VERSION] [--json FILE]

Flies millions of flights of all kinds in one process and looks at its memory meanwhile: it must not grow with their number.

  --flights   how many without a coordinator; 10,000,000 by default
  --redis     how many over Redis, by two replicas; 300,000 by default
  --quick     200,000 and 12,000, which takes about half a minute; a slope is then told less exactly
  --node      on that Node (${NODES.join(', ')}), as in the bench
  --json      writes the samples to FILE as well

It ends with 1 where memory grew. Kinds of flights, with their share of all turns:
${TURNS.map(({ what, share }) => `  ${String(share).padStart(2)}  ${what}`).join('\n')}
`;

const { values } = parseArgs({
  options: {
    flights: { type: 'string' },
    redis: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

interface Size {
  readonly flights: number;
  readonly samples: number;
  /** How many bytes per flight count as none: what garbage collections leave here and there, by the flights in between. */
  readonly bytesMax: number;
}

const FULL = {
  alone: { flights: 10_000_000, samples: 20, bytesMax: 0.25 },
  redis: { flights: 300_000, samples: 20, bytesMax: 4 },
} satisfies Record<string, Size>;

const QUICK = {
  alone: { flights: 200_000, samples: 8, bytesMax: 3 },
  redis: { flights: 12_000, samples: 8, bytesMax: 100 },
} satisfies Record<string, Size>;

if (values.help) console.log(HELP);
else await main();

async function main(): Promise<void> {
  const sizes = values.quick ? QUICK : FULL;
  const results = [
    await soakAlone({ ...sizes.alone, flights: Number(values.flights ?? sizes.alone.flights) }),
    await soakRedis({ ...sizes.redis, flights: Number(values.redis ?? sizes.redis.flights) }),
  ];
  const { cores, memoryGiB, platform, node, redis, date } = await factsOfMachine();
  console.log(`\non ${cores} cores, ${memoryGiB} GiB, ${platform}, Node ${node}, Redis ${redis}, ${date}`);
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(results, null, 2)}\n`);
  if (results.some(({ targets }) => targets.some(({ met }) => !met))) process.exitCode = 1;
}

interface Outcome {
  readonly samples: readonly Sample[];
  readonly bytesPerFlight: number;
  readonly targets: readonly Target[];
}

async function soakAlone(size: Size): Promise<Outcome> {
  const collapser = createCollapser();
  const samples = await course([collapser], { ...size, parallel: 1_000, keysMax: Number.POSITIVE_INFINITY }, () => []);
  await collapser.close();
  return tell(
    'without a coordinator',
    samples,
    ['flights', 'heap', 'external', 'resident', 'seconds'],
    [heapTarget(samples, size.bytesMax)],
  );
}

async function soakRedis(size: Size): Promise<Outcome> {
  const server = await startRedis();
  // Patient, because collecting garbage in the middle stops the process for a while.
  const options = { commandTimeoutMs: 2_000, retainMs: 2_500 };
  const connect = () => createCollapser({ coordinator: redisCoordinator({ ...options, redis: () => new Redis(server.url) }) });
  const replicas = [connect(), connect()];
  try {
    const samples = await course(replicas, { ...size, parallel: 300, keysMax: KEYS_OF_A_KIND }, async () => [await usedMemory(server)]);
    const degraded = replicas.reduce((sum, replica) => sum + replica.stats().totals.degraded, 0);
    await Promise.all(replicas.map((replica) => replica.close()));
    const targets = [heapTarget(samples, size.bytesMax), ...(await redisTargets(server))];
    const columns = ['flights', 'heap', 'external', 'resident', 'seconds', 'used by Redis'];
    return tell(`over Redis, two replicas, ${degraded} calls degraded`, samples, columns, targets);
  } finally {
    await server.stop();
  }
}

interface Row extends Sample {
  readonly more: readonly number[];
}

async function course(
  replicas: readonly Collapser[],
  of: Omit<Course, 'onSample'>,
  more: () => Promise<readonly number[]> | readonly number[],
): Promise<Row[]> {
  const rows: Row[] = [];
  await soak(replicas, { ...of, onSample: async (sample) => void rows.push({ ...sample, more: await more() }) });
  return rows;
}

/** The first half is for what fills once: code, caches with a bound. */
function heapTarget(samples: readonly Sample[], bytesMax: number): Target {
  const slope = bytesPerFlight(samples);
  return {
    what: 'heap over the second half of the flights',
    target: `<= ${bytesMax} bytes more per flight`,
    measured: `${slope.toFixed(3)} bytes`,
    met: slope <= bytesMax,
  };
}

function bytesPerFlight(samples: readonly Sample[]): number {
  return slopeOf(samples.slice(samples.length / 2).map(({ flights, used: { heap, external } }) => [flights, heap + external]));
}

async function redisTargets(server: TestServer): Promise<Target[]> {
  const { withoutExpiry, others, ofInvalidations } = await keysLeft(server);
  return [
    { what: 'keys in Redis without an expiry', target: '0', measured: String(withoutExpiry), met: withoutExpiry === 0 },
    {
      what: 'keys in Redis once all has expired that lives for seconds, besides those of invalidations and tags',
      target: '0',
      measured: `${others}, and ${ofInvalidations} of those`,
      met: others === 0,
    },
  ];
}

function tell(title: string, samples: readonly Row[], columns: readonly string[], targets: readonly Target[]): Outcome {
  const mebibytes = (bytes: number): string => `${(bytes / 1_048_576).toFixed(2)} MiB`;
  const rows = samples.map(({ flights, used: { heap, external, resident }, seconds, more }) => [
    exact(flights),
    ...[heap, external, resident].map(mebibytes),
    seconds.toFixed(0),
    ...more.map(mebibytes),
  ]);
  console.log(`\n${asText({ title, how: title, tables: [{ title: '', columns, rows }], charts: [], targets })}`);
  return { samples, bytesPerFlight: bytesPerFlight(samples), targets };
}
