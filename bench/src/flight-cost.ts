import { createHook } from 'node:async_hooks';
import { Session } from 'node:inspector/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { redisCommand, startRedis, type TestServer } from '@oneflight/testkit';
import { monotonicMs, type Loaded } from './loaded.js';
import { ReplicaProcess } from './replica-process.js';
import { isSystemId, loadSystem, type SystemId } from './systems/index.js';
import type { Client } from './systems/system.js';

/*
 * What one flight over Redis costs a process: CPU, promises, garbage, and the time of Redis, next to SET NX and PUBLISH by
 * hand. `alone` is a claim and a settle; `together` another process asks for the same keys at the same moment, so each
 * leads some and follows the others. CPU, promises and garbage are measured one after the other: whoever counts is slow.
 */
const { values } = parseArgs({
  options: {
    system: { type: 'string', multiple: true, default: ['set-nx-publish', 'oneflight'] },
    keys: { type: 'string', default: '20000' },
    wave: { type: 'string', default: '1000' },
    top: { type: 'string', default: '0' },
  },
});
const [keys, wave, top] = [Number(values.keys), Number(values.wave), Number(values.top)];
const WORKLOADS = ['alone', 'together'] as const;
const LOAD_MS = 20;
const LEAD_MS = 20;
/** One sample per so many bytes, on average. */
const SAMPLING_BYTES = 4_096;

interface Place {
  readonly client: Client;
  readonly server: TestServer;
  readonly other: ReplicaProcess;
}

/** What a profiler says about one function. */
type Shares = ReadonlyMap<string, number>;

let rounds = 0;
console.log(`${keys.toLocaleString('en-US')} keys in waves of ${wave.toLocaleString('en-US')}; all figures per key, of one process\n`);
console.log('| system | asks | CPU (µs) | promises | garbage (KB) | CPU of Redis (µs) |');
console.log('| --- | --- | --- | --- | --- | --- |');
for (const id of values.system) {
  if (!isSystemId(id)) throw new Error(`expected a system, got ${id}`);
  await measure(id);
}

async function measure(id: SystemId): Promise<void> {
  const server = await startRedis();
  const other = new ReplicaProcess(id, server.url);
  await other.ready;
  const system = await loadSystem(id);
  const client = await system.open({ url: server.url });
  const place: Place = { client, server, other };
  const profiles: string[] = [];
  try {
    for (const workload of WORKLOADS) {
      const run = (): Promise<void> => sweep(place, workload === 'together');
      await run(); // The first one is slower: the code is not compiled yet.
      const cpu = await cpuOf(server, run);
      const promises = await promisesOf(run);
      const garbage = await garbageOf(run);
      const cells = [system.name, workload, cpu.own, promises, garbage.total / 1_024, cpu.redis];
      console.log(`| ${cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(1) : cell)).join(' | ')} |`);
      if (top === 0) continue;
      profiles.push(...shown(`${id}, ${workload}: CPU (µs per key)`, await profileOf(run)));
      profiles.push(...shown(`${id}, ${workload}: garbage (bytes per key)`, garbage.shares));
    }
  } finally {
    await client.close();
    await other.close();
    await server.stop();
  }
  for (const line of profiles) console.log(line);
}

async function sweep({ client, other }: Place, together: boolean): Promise<void> {
  for (let first = 0; first < keys; first += wave) {
    const prefix = `round-${(rounds += 1)}`;
    const at = monotonicMs() + LEAD_MS;
    const theirs = together ? other.sweep({ prefix, keys: wave, loadMs: LOAD_MS, at }) : undefined;
    if (together) await sleep(Math.max(0, at - monotonicMs()));
    await Promise.all(Array.from({ length: wave }, (_, index) => client.get(`${prefix}-${index}`, load)));
    await theirs;
  }
}

async function load(): Promise<Loaded> {
  await sleep(LOAD_MS);
  return { leadMs: 0, endedAt: 0, payload: '' };
}

async function cpuOf(server: TestServer, run: () => Promise<void>): Promise<{ own: number; redis: number }> {
  const redisBefore = await redisCpu(server);
  const before = process.cpuUsage();
  await run();
  const used = process.cpuUsage(before);
  return { own: (used.user + used.system) / keys, redis: ((await redisCpu(server)) - redisBefore) / keys };
}

async function redisCpu({ host, port }: TestServer): Promise<number> {
  const text = String(await redisCommand({ host, port }, 'INFO', 'cpu'));
  const seconds = (name: string): number => Number(new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1]);
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1_000_000;
}

async function promisesOf(run: () => Promise<void>): Promise<number> {
  let promises = 0;
  const hook = createHook({ init: (_, type) => void (type === 'PROMISE' && (promises += 1)) }).enable();
  await run();
  hook.disable();
  return promises / keys;
}

async function garbageOf(run: () => Promise<void>): Promise<{ total: number; shares: Shares }> {
  const session = new Session();
  session.connect();
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: SAMPLING_BYTES,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  });
  await run();
  const { profile } = await session.post('HeapProfiler.stopSampling');
  session.disconnect();
  const shares = new Map<string, number>();
  const add = ({ callFrame, selfSize, children }: typeof profile.head): void => {
    count(shares, callFrame, selfSize / keys);
    children.forEach(add);
  };
  add(profile.head);
  return { total: [...shares.values()].reduce((sum, size) => sum + size, 0), shares };
}

async function profileOf(run: () => Promise<void>): Promise<Shares> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 200 });
  await session.post('Profiler.start');
  await run();
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const shares = new Map<string, number>();
  profile.samples?.forEach((node, at) => {
    const frame = frames.get(node);
    if (frame !== undefined && frame.functionName !== '(idle)') count(shares, frame, (profile.timeDeltas?.[at] ?? 0) / keys);
  });
  return shares;
}

interface Frame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

function count(shares: Map<string, number>, { functionName, url, lineNumber }: Frame, share: number): void {
  const file = url.split('/').slice(-2).join('/');
  const name = `${functionName || '(anonymous)'} ${file}${file === '' ? '' : `:${lineNumber + 1}`}`;
  shares.set(name, (shares.get(name) ?? 0) + share);
}

function shown(title: string, shares: Shares): string[] {
  const most = [...shares].toSorted(([, a], [, b]) => b - a).slice(0, top);
  return ['', title, ...most.map(([name, share]) => `${share.toFixed(share < 100 ? 1 : 0).padStart(8)}  ${name}`)];
}
