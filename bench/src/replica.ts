import { setTimeout as sleep } from 'node:timers/promises';
import { countCommandsSent } from './commands-sent.js';
import { connectToDatabase } from './database.js';
import { monotonicMs, type Loaded } from './loaded.js';
import type { Ask, BurstReply, BurstRequest, Done, LoopReply, LoopRequest, SweepReply, SweepRequest, Tell } from './replica-protocol.js';
import { Latencies } from './statistics.js';
import { isSystemId, loadSystem } from './systems/index.js';
import type { Client } from './systems/system.js';

/*
 * One replica: a process with one system under test. `fleet.ts` starts it and asks; every ask gets one reply. Loads count
 * themselves here, so a system that loads twice shows it.
 */
const [id = '', url = ''] = process.argv.slice(2);
if (!isSystemId(id)) throw new Error(`expected the name of a system, got ${id}`);
const commandsSent = countCommandsSent();
const system = await loadSystem(id);
const client = await system.open({ url });

let cpuBefore = process.cpuUsage();

process.on('message', ({ number, ask }: { readonly number: number; readonly ask: Ask }) => void answer(number, ask));
process.on('disconnect', () => process.exit(0));
tell({ what: 'ready' });

async function answer(number: number, ask: Ask): Promise<void> {
  try {
    const done = await perform(ask);
    const used = process.cpuUsage(cpuBefore);
    tell({ what: 'done', number, done, cost: { cpuMs: (used.user + used.system) / 1_000, sent: commandsSent() } });
    cpuBefore = process.cpuUsage();
  } catch (error) {
    tell({ what: 'failed', number, message: String(error) });
  }
}

async function perform(ask: Ask): Promise<Done> {
  switch (ask.command) {
    case 'burst':
      return { command: ask.command, reply: await burst(client, ask.request) };
    case 'sweep':
      return { command: ask.command, reply: await sweep(client, ask.request) };
    case 'loop':
      return { command: ask.command, reply: await loop(client, ask.request) };
    case 'close':
      // Whoever closes with calls under way may reject them: that is no failure of a measurement.
      await client.close().catch(() => {});
      return { command: ask.command };
  }
}

function tell(message: Tell): void {
  process.send?.(message);
}

async function until(at: number): Promise<void> {
  await sleep(Math.max(0, at - monotonicMs()));
}

async function burst({ get }: Client, { key, callers, loadMs, payloadBytes, at, tellsLoad = false }: BurstRequest): Promise<BurstReply> {
  const payload = 'x'.repeat(payloadBytes);
  await until(at);
  const calledAt = monotonicMs();
  let loads = 0;
  const load = async (): Promise<Loaded> => {
    loads += 1;
    const leadMs = monotonicMs() - calledAt;
    if (tellsLoad) tell({ what: 'loading' });
    await sleep(loadMs);
    return { leadMs, endedAt: monotonicMs(), payload };
  };
  const addedMs: number[] = [];
  let failures = 0;
  const call = async (): Promise<void> => {
    try {
      const loaded = await get(key, load);
      addedMs.push(loaded.leadMs + monotonicMs() - loaded.endedAt);
    } catch {
      failures += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  return { addedMs, endedAt: monotonicMs(), loads, failures };
}

async function sweep({ get }: Client, { prefix, keys, loadMs, wave = { keys, everyMs: 0 }, at }: SweepRequest): Promise<SweepReply> {
  let loads = 0;
  let failures = 0;
  const addedMs: number[] = [];
  const call = async (key: string): Promise<void> => {
    const calledAt = monotonicMs();
    const load = async (): Promise<Loaded> => {
      loads += 1;
      const leadMs = monotonicMs() - calledAt;
      await sleep(loadMs);
      return { leadMs, endedAt: monotonicMs(), payload: '' };
    };
    try {
      const loaded = await get(key, load);
      addedMs.push(loaded.leadMs + monotonicMs() - loaded.endedAt);
    } catch {
      failures += 1;
    }
  };
  const calls: Promise<void>[] = [];
  for (let index = 0; index < keys; index += 1) {
    if (index % wave.keys === 0) await until(at + (index / wave.keys) * wave.everyMs);
    calls.push(call(`${prefix}-${index}`));
  }
  await Promise.all(calls);
  return { addedMs, endedAt: monotonicMs(), loads, failures };
}

async function loop({ get }: Client, { users, keys, durationMs, databasePort, at }: LoopRequest): Promise<LoopReply> {
  const database = await connectToDatabase(databasePort);
  const latencies = new Latencies();
  let loads = 0;
  let failures = 0;
  const load = async (): Promise<Loaded> => {
    loads += 1;
    await database.query();
    return { leadMs: 0, endedAt: monotonicMs(), payload: '' };
  };
  await until(at);
  const end = monotonicMs() + durationMs;
  const user = async (_: unknown, number: number): Promise<void> => {
    for (let turn = number; monotonicMs() < end; turn += 1) {
      const calledAt = monotonicMs();
      try {
        await get(`hot-${turn % keys}`, load);
        // An answer that comes after the end was not given in the time that is measured.
        if (monotonicMs() < end) latencies.add(monotonicMs() - calledAt);
      } catch {
        failures += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: users }, user));
  database.close();
  return { latencies: latencies.counts(), loads, failures };
}
