import { coalesceAsync } from 'promise-coalesce';
import type { System } from './system.js';

/** Inside the process only. It has no options. */
export const system: System = {
  name: 'promise-coalesce',
  reach: 'process',
  keepsMs: 0,
  setup: '`coalesceAsync(key, load)`.',
  async open() {
    return { get: (key, load) => coalesceAsync(key, load), close: async () => {} };
  },
};
