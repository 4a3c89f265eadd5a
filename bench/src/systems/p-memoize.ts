import pMemoize from 'p-memoize';
import type { Loaded } from '../loaded.js';
import type { System } from './system.js';

/** Inside the process only. Without a cache it remembers nothing but the calls that run. */
export const system: System = {
  name: 'p-memoize',
  reach: 'process',
  keepsMs: 0,
  setup: '`cache: false`, so that only calls that run are shared.',
  async open() {
    const run = (_key: string, load: () => Promise<Loaded>): Promise<Loaded> => load();
    return { get: pMemoize(run, { cache: false }), close: async () => {} };
  },
};
