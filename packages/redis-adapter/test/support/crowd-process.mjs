// One crowd in a process of its own, on the built packages, with --expose-gc: what it costs in memory and in delays of
// the event loop. Sends one report, ends.
import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

const { url, controlUrl, waiters: callers, valueBytes, processes } = JSON.parse(process.argv[2]);
const redis = () => new Redis(url, { lazyConnect: true });
const collapser = createCollapser({
  name: 'crowd',
  coordinator: redisCoordinator({ redis }),
  limits: { flightsMax: 20_000 },
});

/** Bytes that are in use once nothing is left to collect. */
function usedBytes() {
  for (let times = 0; times < 3; times++) globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Many callers of one key with a large value; the load ends when both processes' callers are there. */
async function hotKey() {
  const control = new Redis(controlUrl);
  await collapser.run('warm-up', () => 0);
  const before = usedBytes();
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  let loads = 0;
  const load = async () => {
    loads++;
    while (Number(await control.get('crowd')) < processes) await sleep(5);
    return { seats: 'x'.repeat(valueBytes) };
  };
  const answers = Array.from({ length: callers }, () => collapser.flight('hot', load));
  await sleep(0);
  const waiting = usedBytes();
  delays.reset();
  await control.incr('crowd');
  const sources = {};
  let bytes = 0;
  for (const { value, source } of await Promise.all(answers)) {
    sources[source] = (sources[source] ?? 0) + 1;
    bytes = value.seats.length;
  }
  await sleep(50);
  delays.disable();
  answers.length = 0;
  control.disconnect();
  return {
    loads,
    sources,
    bytes,
    waitingBytes: waiting - before,
    leftBytes: usedBytes() - before,
    delayP99Ms: delays.percentile(99) / 1e6,
    delayMaxMs: delays.max / 1e6,
  };
}

const report = await hotKey();
const { flights, joinable, waiters, totals } = collapser.stats();
process.send({ ...report, flights, joinable, waitersLeft: waiters, totals });
await collapser.close();
process.disconnect();
