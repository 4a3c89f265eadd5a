// One process that writes a register directly and reads it through a collapser, and reports when it did what. It is driven
// by register-history.ts. Times are of the machine's monotonic clock, which all processes share.
import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

const { url, registerUrl } = JSON.parse(process.argv[2]);
const register = new Redis(registerUrl);
const collapser = createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(url) }) });
const now = () => Number(process.hrtime.bigint()) / 1e6;
let writes = 0;

/** What it reads is as old as the load is long: like a query that sees the state of its beginning. */
function loader(key, loadMs) {
  return async () => {
    const seen = await register.get(key);
    await sleep(loadMs);
    return seen;
  };
}

async function client({ key, freshness, invalidates, operations, loadMs }) {
  const done = [];
  for (let number = 0; number < operations; number++) {
    const from = now();
    if (Math.random() < 0.25) {
      const value = `${process.pid}-${++writes}`;
      await register.set(key, value);
      if (invalidates) await collapser.invalidate(key);
      done.push({ kind: 'write', value, from, until: now() });
    } else {
      const value = await collapser.run(key, loader(key, loadMs), { freshness });
      done.push({ kind: 'read', value: value ?? undefined, from, until: now() });
    }
    await sleep(Math.random() * 10);
  }
  return done;
}

async function close() {
  await collapser.close();
  register.disconnect();
  process.disconnect();
}

async function report(request) {
  const histories = await Promise.all(Array.from({ length: request.clients }, () => client(request)));
  process.send(histories.flat());
}

process.on('message', (request) => void (request === 'close' ? close() : report(request)));

await register.ping();
await collapser.run('warm-up', () => 1);
process.send('ready');
