// One crowd in a process of its own, on the built packages, with --expose-gc: what it costs in memory and in delays of
// the event loop. Runs one scenario, sends one report, ends.
import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

const { scenario, url, controlUrl, options = {}, ...request } = JSON.parse(process.argv[2]);
const redis = () => new Redis(url, { lazyConnect: true });
const collapser = createCollapser({
  name: 'crowd',
  ...(url && { coordinator: redisCoordinator({ redis, ...options }) }),
  limits: { flightsMax: 20_000 },
});

/** Bytes that are in use once nothing is left to collect. */
function usedBytes() {
  for (let times = 0; times < 3; times++) globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const scenarios = {
  /** Many callers of one key with a large value; the load ends when both processes' callers are there. */
  async hotKey({ waiters, valueBytes, processes }) {
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
    const answers = Array.from({ length: waiters }, () => collapser.flight('hot', load));
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
  },
  /** Each key once, so many at a time. */
  async manyKeys({ keys, parallel }) {
    let next = 0;
    let flatFrom = 0;
    const worker = async () => {
      while (next < keys) {
        const key = next++;
        if (key === Math.floor(keys / 5)) flatFrom = usedBytes();
        const value = await collapser.run(['key', key], async () => key);
        if (value !== key) throw new Error(`expected ${key}, got ${value}`);
      }
    };
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: parallel }, worker));
    const tookMs = performance.now() - startedAt;
    return { grownBytes: usedBytes() - flatFrom, usedBytes: usedBytes(), tookMs };
  },
};

const report = await scenarios[scenario](request);
const { flights, joinable, waiters, totals } = collapser.stats();
process.send({ ...report, flights, joinable, waitersLeft: waiters, totals });
await collapser.close();
process.disconnect();
