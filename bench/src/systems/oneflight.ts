import { createCollapser } from '@oneflight/core';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis6';
import type { System } from './system.js';

export const system: System = {
  name: 'oneflight',
  reach: 'cluster',
  keepsMs: 0,
  setup: 'All defaults.',
  async open({ url }) {
    const collapser = createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(url) }) });
    return {
      get: (key, load) => collapser.run(key, load),
      close: () => collapser.close(),
    };
  },
};
