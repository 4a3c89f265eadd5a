import { DistributedCallbackQueue } from '@microfleet/dlock';
import { Redis } from 'ioredis';
import { isLoaded } from '../loaded.js';
import { LEASE_MS, type System } from './system.js';

/*
 * The one package of npm that does the same: a lock, and the answer over pub/sub. `fanout` is its own way for promises. It
 * collapses inside the process by itself. No retries for the lock, as its README shows for this use: a refused caller waits
 * for the answer. Its time limit covers the answer that comes between a refusal and the subscription, which it has no
 * other means against.
 */
const FANOUT_MS = 5_000;

export const system: System = {
  name: '@microfleet/dlock',
  reach: 'cluster',
  keepsMs: 0,
  setup: `\`fanout\` with a lock of ${LEASE_MS} ms, no retries, a limit of ${FANOUT_MS} ms, no log, on ioredis 5, which it asks for.`,
  async open({ url }) {
    const queue = new DistributedCallbackQueue({
      client: new Redis(url, { lazyConnect: true }),
      pubsub: new Redis(url, { lazyConnect: true }),
      pubsubChannel: 'dlock',
      lock: { timeout: LEASE_MS, retries: 0, delay: 100 },
      lockPrefix: 'dlock:',
      log: false,
    });
    await queue.connect();
    return {
      async get(key, load) {
        const loaded: unknown = await queue.fanout(key, FANOUT_MS, load);
        if (isLoaded(loaded)) return loaded;
        throw new TypeError('expected what the load returned, got something else');
      },
      close: () => queue.close(),
    };
  },
};
