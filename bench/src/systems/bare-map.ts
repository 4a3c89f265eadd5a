import { onePerKey, type System } from './system.js';

export const system: System = {
  name: 'bare Map',
  reach: 'process',
  keepsMs: 0,
  setup: 'A `Map<string, Promise>`: an entry for each load that runs, deleted when it ends.',
  async open() {
    return { get: onePerKey((_key, load) => load()), close: async () => {} };
  },
};
