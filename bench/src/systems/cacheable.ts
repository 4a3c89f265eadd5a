import KeyvRedis from '@keyv/redis';
import { Cacheable } from 'cacheable';
import { KEEP_MS, type System } from './system.js';

/*
 * A cache by nature: it needs a ttl. Memory first and Redis second is what its README recommends for several replicas.
 * Equal calls of one process share a load; replicas that miss at the same time all load.
 */
export const system: System = {
  name: 'cacheable',
  reach: 'process',
  keepsMs: KEEP_MS,
  setup: `\`getOrSet\`, memory as primary and \`@keyv/redis\` as secondary store, ttl ${KEEP_MS} ms.`,
  async open({ url }) {
    const cache = new Cacheable({ secondary: new KeyvRedis(url), ttl: KEEP_MS });
    await cache.get('connect');
    return {
      async get(key, load) {
        const loaded = await cache.getOrSet(key, load, { ttl: KEEP_MS });
        if (loaded !== undefined) return loaded;
        throw new Error('expected a value, got none');
      },
      close: () => cache.disconnect(),
    };
  },
};
