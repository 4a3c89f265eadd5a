import { Redis } from 'ioredis6';
import Redlock, { type Lock } from 'redlock';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseLoaded, type Loaded } from '../loaded.js';
import { KEEP_MS, LEASE_MS, onePerKey, POLL_MS, type Client, type System } from './system.js';

/*
 * redlock is a lock: who waits for a value needs more than it. The usual way around it is written here. Who gets the lock
 * loads and leaves the value in Redis for a moment; who does not asks for that value again and again. Asking less often
 * than each 10 ms makes its latency worse, asking more often its load on Redis.
 */
export const system: System = {
  name: 'redlock + polling',
  reach: 'cluster',
  keepsMs: KEEP_MS,
  setup: `A lock of ${LEASE_MS} ms without retries; the value is kept in Redis for ${KEEP_MS} ms; others ask for it each ${POLL_MS} ms; a Map in front.`,
  async open({ url }) {
    const redis = new Redis(url);
    const redlock = new Redlock([redis], { retryCount: 0 });
    await redis.ping();
    return { get: onePerKey(polling(redis, redlock)), close: async () => redis.disconnect() };
  },
};

function polling(redis: Redis, redlock: Redlock): Client['get'] {
  return async (key, load) => {
    for (;;) {
      const lock = await redlock.acquire([`lock:${key}`], LEASE_MS).catch(() => undefined);
      if (lock !== undefined) return lead(redis, lock, key, load);
      const until = Date.now() + LEASE_MS;
      while (Date.now() < until) {
        const text = await redis.get(`value:${key}`);
        if (text !== null) return parseLoaded(text);
        await sleep(POLL_MS);
      }
    }
  };
}

async function lead(redis: Redis, lock: Lock, key: string, load: () => Promise<Loaded>): Promise<Loaded> {
  try {
    const loaded = await load();
    await redis.set(`value:${key}`, JSON.stringify(loaded), 'PX', KEEP_MS);
    return loaded;
  } finally {
    await lock.unlock().catch(() => {});
  }
}
