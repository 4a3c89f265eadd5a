import { createCache } from 'async-cache-dedupe';
import { Redis } from 'ioredis';
import type { Loaded } from '../loaded.js';
import { KEEP_MS, type System } from './system.js';

interface Call {
  readonly key: string;
  readonly load: () => Promise<Loaded>;
}

/*
 * Collapses inside the process; with a ttl and Redis as its storage a replica that comes later finds the value of another
 * one. Its ttl counts in seconds. Replicas that miss at the same time all load.
 */
export const system: System = {
  name: 'async-cache-dedupe',
  reach: 'process',
  keepsMs: KEEP_MS,
  setup: `Redis as storage, ttl ${KEEP_MS / 1_000} s, the shortest that it stores.`,
  async open({ url }) {
    const client = new Redis(url);
    await client.ping();
    const cache = createCache({ ttl: KEEP_MS / 1_000, storage: { type: 'redis', options: { client } } }).define(
      'fetch',
      { serialize: ({ key }: Call) => key },
      ({ load }: Call) => load(),
    );
    return { get: (key, load) => cache.fetch({ key, load }), close: async () => client.disconnect() };
  },
};
