import { BentoCache, bentostore } from 'bentocache';
import { memoryDriver } from 'bentocache/drivers/memory';
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis';
import { KEEP_MS, type System } from './system.js';

/*
 * A cache by nature: it needs a ttl. Two tiers and the bus are its recommended setting for several replicas. Its protection
 * against stampedes is a lock inside the process; replicas that miss at the same time all load.
 */
export const system: System = {
  name: 'bentocache',
  reach: 'process',
  keepsMs: KEEP_MS,
  setup: `\`getOrSet\`, memory and Redis as two tiers with the Redis bus, ttl ${KEEP_MS} ms, on ioredis 5, which it asks for.`,
  async open({ url }) {
    const { hostname, port } = new URL(url);
    const connection = { host: hostname, port: Number(port) };
    const cache = new BentoCache({
      default: 'tiers',
      ttl: KEEP_MS,
      stores: {
        tiers: bentostore()
          .useL1Layer(memoryDriver({ maxSize: '64mb', maxEntrySize: '32mb' }))
          .useL2Layer(redisDriver({ connection }))
          .useBus(redisBusDriver({ connection })),
      },
    });
    await cache.get({ key: 'connect' });
    return {
      get: (key, load) => cache.getOrSet({ key, factory: load }),
      close: () => cache.disconnectAll(),
    };
  },
};
