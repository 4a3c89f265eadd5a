import { Redis } from 'ioredis';
import { Mutex } from 'redis-semaphore';
import { parseLoaded } from '../loaded.js';
import { KEEP_MS, LEASE_MS, onePerKey, POLL_MS, type System } from './system.js';

/*
 * A mutex around a value in Redis: everybody takes the lock in turn, the first loads, the others find the value that it
 * left. They ask for the lock each 10 ms, the package's default. It renews the lock by itself.
 */
export const system: System = {
  name: 'redis-semaphore',
  reach: 'cluster',
  keepsMs: KEEP_MS,
  setup: `\`Mutex\` of ${LEASE_MS} ms (default retry each ${POLL_MS} ms) around a value that is kept in Redis for ${KEEP_MS} ms; a Map in front.`,
  async open({ url }) {
    const redis = new Redis(url);
    await redis.ping();
    return {
      get: onePerKey(async (key, load) => {
        const mutex = new Mutex(redis, key, { lockTimeout: LEASE_MS, retryInterval: POLL_MS, acquireTimeout: 30_000 });
        await mutex.acquire();
        try {
          const kept = await redis.get(`value:${key}`);
          if (kept !== null) return parseLoaded(kept);
          const loaded = await load();
          await redis.set(`value:${key}`, JSON.stringify(loaded), 'PX', KEEP_MS);
          return loaded;
        } finally {
          await mutex.release();
        }
      }),
      close: async () => redis.disconnect(),
    };
  },
};
