import { Redis } from 'ioredis6';
import { parseLoaded, type Loaded } from '../loaded.js';
import { LEASE_MS, onePerKey, type Client, type System } from './system.js';

/*
 * The least that can collapse over Redis: one SET NX to ask, one PUBLISH to answer, nothing else. Every replica hears every
 * answer. The key is deleted before the answer is published, in the same write, or a replica that was refused in between
 * would wait for an answer that has been sent already. No renewal, no fencing, no errors, no invalidation; a lost message
 * or a dead leader costs the rest of the lease.
 */
const CHANNEL = 'floor';

export const system: System = {
  name: 'SET NX + PUBLISH by hand',
  reach: 'cluster',
  keepsMs: 0,
  setup: `About 60 lines: one \`SET NX PX ${LEASE_MS}\`, one \`DEL\` and \`PUBLISH\` in one write, a Map in front. No renewal, no errors, no fencing.`,
  async open({ url }) {
    const redis = new Redis(url);
    const subscriber = new Redis(url);
    const waiting = new Map<string, (loaded: Loaded) => void>();
    subscriber.on('message', (_channel, message: string) => {
      const end = message.indexOf('\n');
      const resolve = waiting.get(message.slice(0, end));
      if (resolve !== undefined) resolve(parseLoaded(message.slice(end + 1)));
    });
    await Promise.all([subscriber.subscribe(CHANNEL), redis.ping()]);
    return {
      get: onePerKey(collapsed(redis, waiting)),
      async close() {
        redis.disconnect();
        subscriber.disconnect();
      },
    };
  },
};

function collapsed(redis: Redis, waiting: Map<string, (loaded: Loaded) => void>): Client['get'] {
  return async (key, load) => {
    // Listening begins before the question: the answer of another replica may come before the refusal.
    const answer = new Promise<Loaded>((resolve) => waiting.set(key, resolve));
    try {
      for (;;) {
        if ((await redis.set(key, '1', 'PX', LEASE_MS, 'NX')) === 'OK') return await lead(redis, key, load);
        const loaded = await withinLease(answer);
        if (loaded !== undefined) return loaded;
      }
    } finally {
      waiting.delete(key);
    }
  };
}

async function lead(redis: Redis, key: string, load: () => Promise<Loaded>): Promise<Loaded> {
  const loaded = await load();
  void redis
    .pipeline()
    .del(key)
    .publish(CHANNEL, `${key}\n${JSON.stringify(loaded)}`)
    .exec();
  return loaded;
}

async function withinLease(answer: Promise<Loaded>): Promise<Loaded | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const leaseIsOver = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, LEASE_MS, undefined)));
  return Promise.race([answer, leaseIsOver]).finally(() => clearTimeout(timer));
}
