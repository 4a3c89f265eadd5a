// Prints what one flight costs on a quorum of three servers: commands sent, and rounds of votes per claim. Build first, then:
//   REDIS_URLS=redis://…,redis://…,redis://… node packages/redis-adapter/scripts/quorum-cost.mjs
import { randomBytes } from 'node:crypto';
import { createCollapser } from '@oneflight/core';
import { Redis } from 'ioredis';
import { quorumCoordinator } from '../dist/index.js';

const FLIGHTS = 200;
const urls = (process.env.REDIS_URLS ?? '').split(',');
if (urls.length !== 3) throw new Error(`expected three addresses in REDIS_URLS, got ${urls.length}`);
let sent = [];

/** A client whose duplicates write down each command. */
class Counting extends Redis {
  duplicate(changes) {
    const client = super.duplicate(changes);
    const send = client.sendCommand.bind(client);
    client.sendCommand = (command, stream) => {
      // What ioredis sends for itself goes alone.
      if (stream !== undefined) sent.push(command.name);
      return send(command, stream);
    };
    return client;
  }
}

const rows = [];
for (const replicas of [1, 2, 4, 10]) rows.push(await measure(replicas));
console.table(rows);

/** Every replica asks for the same new key at once, again and again. */
async function measure(replicas) {
  const prefix = `cost-${randomBytes(4).toString('hex')}`;
  const crew = Array.from({ length: replicas }, () => {
    const nodes = urls.map((url) => new Counting(url, { lazyConnect: true }));
    return createCollapser({ name: 'cost', coordinator: quorumCoordinator({ nodes, prefix, commandTimeoutMs: 2_000 }) });
  });
  await Promise.all(crew.map((replica) => replica.run('warm up', () => 1)));
  sent = [];
  let loads = 0;
  const load = async () => {
    loads += 1;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return 'value';
  };
  const took = [];
  for (let flight = 0; flight < FLIGHTS; flight += 1) {
    const startedAt = performance.now();
    await Promise.all(crew.map((replica) => replica.run(`key ${flight}`, load)));
    took.push(performance.now() - startedAt - 50);
  }
  const commands = sent.length / FLIGHTS;
  await Promise.all(crew.map((replica) => replica.close()));
  took.sort((a, b) => a - b);
  return {
    replicas,
    'loads per flight': loads / FLIGHTS,
    'commands per flight': Number(commands.toFixed(1)),
    'without contention': 3 * (replicas + 1),
    'added ms, median': Number(took[FLIGHTS / 2].toFixed(1)),
    'added ms, p99': Number(took[Math.floor(FLIGHTS * 0.99)].toFixed(1)),
  };
}
