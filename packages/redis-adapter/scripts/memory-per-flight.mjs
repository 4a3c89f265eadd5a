// Prints how many bytes of Redis memory one flight takes, by the size of its outcome. Build first, then:
//   REDIS_URL=redis://127.0.0.1:6379 node packages/redis-adapter/scripts/memory-per-flight.mjs
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { redisCoordinator } from '../dist/index.js';

const SECRET = 'only for measuring: 16 characters or more';
const redis = new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379');
const rows = [];
for (const secret of [undefined, SECRET]) {
  for (const bytes of [100, 1_024, 8_192]) rows.push(await measure(bytes, secret));
}
console.table(rows);
redis.disconnect();

/** One flight that one replica leads and another follows, and one that nobody follows. */
async function measure(bytes, secret) {
  const prefix = `memory-${randomBytes(4).toString('hex')}`;
  const coordinator = redisCoordinator({ redis, prefix, commandTimeoutMs: 2_000, ...(secret && { secret }) });
  const [a, b] = [1, 2].map(() => coordinator.connect({ namespace: 'memory', receive: () => {} }));
  const row = { outcome: bytes, signed: secret !== undefined };
  for (const followed of [true, false]) {
    const key = randomBytes(32).toString('base64url');
    const request = (link) => ({ key, id: `${link.inbox}#1`, min: 0, floor: 0, takeover: false });
    const { fencingToken: token } = await a.claim(request(a));
    row[followed ? 'in flight' : 'in flight, alone'] = await memoryOf(prefix, key);
    if (followed) await b.claim(request(b));
    if (followed) row['each follower'] = (await memoryOf(prefix, key)) - row['in flight'];
    await a.settle({ key, id: `${a.inbox}#1`, token, outcome: { kind: 'value', bytes: randomBytes(bytes) } });
    row[followed ? 'settled' : 'settled, alone'] = await memoryOf(prefix, key);
  }
  await Promise.all([a.close(), b.close()]);
  return row;
}

async function memoryOf(prefix, key) {
  const names = await redis.keys(`${prefix}:v1:{${key}}:*`);
  const sizes = await Promise.all(names.map((name) => redis.memory('USAGE', name, 'SAMPLES', 0)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
