import { createCollapser, type Collapser, type RunOptions } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { startRedis } from '@oneflight/testkit';
import { Redis } from 'ioredis6';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Latencies } from './statistics.js';

/*
 * What `freshness: 'confirmed'` and `'strict'` cost next to `'join'`: callers that never stop asking for one key on several
 * replicas, the three modes in turn, in one run. Loads and commands are counts; of the times only the ratio says something.
 */
const REPLICAS = 4;
const LOAD_MS = 50;
const MODES = ['join', 'confirmed', 'strict'] as const;
type Mode = NonNullable<RunOptions['freshness']>;

interface Tally {
  calls: number;
  loads: number;
  runningMax: number;
  operations: number;
  readonly latencies: Latencies;
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    callers: { type: 'string', default: '50' },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const callers = Number(values.callers);

const server = await startRedis();
const collapsers = Array.from({ length: REPLICAS }, () =>
  createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(server.url) }) }),
);
const tallies = new Map<Mode, Tally>(
  MODES.map((mode) => [mode, { calls: 0, loads: 0, runningMax: 0, operations: 0, latencies: new Latencies() }]),
);
try {
  for (const collapser of collapsers) await collapser.run('warm-up', () => 1);
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another mode: a machine that slows down in between does so for all.
    for (const at of MODES.keys()) await measure(MODES[(at + round) % MODES.length] ?? 'join');
  }
  print();
} finally {
  await Promise.all(collapsers.map((collapser) => collapser.close()));
  await server.stop();
}

async function measure(mode: Mode): Promise<void> {
  const tally = tallies.get(mode);
  if (tally === undefined) throw new Error(`no tally for ${mode}`);
  const stop = collapsers.map((collapser) =>
    collapser.listen((event) => {
      if (event.type === 'operation' && event.operation !== 'presence') tally.operations++;
    }),
  );
  const until = performance.now() + seconds * 1_000;
  let running = 0;
  const load = async (): Promise<number> => {
    tally.loads++;
    running++;
    tally.runningMax = Math.max(tally.runningMax, running);
    await sleep(LOAD_MS);
    running--;
    return tally.loads;
  };
  const caller = async (collapser: Collapser): Promise<void> => {
    await sleep(Math.random() * LOAD_MS); // Else all of them would ask at the same moment, and go on doing so.
    while (performance.now() < until) {
      const startedAt = performance.now();
      await collapser.run('freshness', load, { freshness: mode });
      tally.latencies.add(performance.now() - startedAt);
      tally.calls++;
      await sleep(Math.random() * LOAD_MS);
    }
  };
  await Promise.all(collapsers.flatMap((collapser) => Array.from({ length: callers }, () => caller(collapser))));
  for (const unlisten of stop) unlisten();
}

function print(): void {
  const joined = tallies.get('join')?.latencies.percentile(0.5) ?? Number.NaN;
  console.log(
    `${REPLICAS} replicas, ${callers} callers each in a closed loop on one key, a load of ${LOAD_MS} ms, ${rounds} x ${seconds} s of each mode\n`,
  );
  console.log(
    '| `freshness` | calls | loads | calls per load | loads at once | round trips to Redis per load | p50, of join | p99, of join |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  const joinedTail = tallies.get('join')?.latencies.percentile(0.99) ?? Number.NaN;
  for (const [mode, { calls, loads, runningMax, operations, latencies }] of tallies) {
    const [p50, p99] = [latencies.percentile(0.5), latencies.percentile(0.99)];
    const cells = [
      `\`${mode}\``,
      calls,
      loads,
      (calls / loads).toFixed(1),
      runningMax,
      (operations / loads).toFixed(1),
      `${p50.toFixed(1)} ms, ${(p50 / joined).toFixed(2)}`,
      `${p99.toFixed(1)} ms, ${(p99 / joinedTail).toFixed(2)}`,
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}
