import { Redis } from 'ioredis';
import { Loader, RedisCache } from 'layered-loader';
import type { Loaded } from '../loaded.js';
import { KEEP_MS, type System } from './system.js';

interface Call {
  readonly key: string;
  readonly load: () => Promise<Loaded>;
}

/*
 * A cache by nature: memory, then Redis, then the source, each key loaded once at a time in a process. Replicas that miss
 * at the same time all load.
 */
export const system: System = {
  name: 'layered-loader',
  reach: 'process',
  keepsMs: KEEP_MS,
  setup: `\`Loader\` with an in-memory cache (lru-map) and a \`RedisCache\`, ttl ${KEEP_MS} ms each, on ioredis 5, which it asks for.`,
  async open({ url }) {
    const redis = new Redis(url);
    await redis.ping();
    const loader = new Loader<Loaded, Call, Call>({
      inMemoryCache: { cacheType: 'lru-map', ttlInMsecs: KEEP_MS, maxItems: 10_000 },
      asyncCache: new RedisCache<Loaded>(redis, { json: true, ttlInMsecs: KEEP_MS }),
      dataSourceGetOneFn: ({ load }) => load(),
      cacheKeyFromLoadParamsResolver: ({ key }) => key,
    });
    return {
      async get(key, load) {
        const loaded = await loader.get({ key, load });
        if (loaded !== undefined && loaded !== null) return loaded;
        throw new Error('expected a value, got none');
      },
      close: async () => redis.disconnect(),
    };
  },
};
