import type { System } from './system.js';

/** Every system under test, loaded only where it runs: a replica holds one system and nothing of the others. */
const SYSTEMS = {
  oneflight: () => import('./oneflight.js'),
  'set-nx-publish': () => import('./set-nx-publish.js'),
  none: () => import('./none.js'),
  'bare-map': () => import('./bare-map.js'),
  dlock: () => import('./dlock.js'),
  'redlock-polling': () => import('./redlock-polling.js'),
  'redis-semaphore': () => import('./redis-semaphore.js'),
  bentocache: () => import('./bentocache.js'),
  cacheable: () => import('./cacheable.js'),
  'async-cache-dedupe': () => import('./async-cache-dedupe.js'),
  'layered-loader': () => import('./layered-loader.js'),
  'promise-coalesce': () => import('./promise-coalesce.js'),
  'p-memoize': () => import('./p-memoize.js'),
} as const satisfies Record<string, () => Promise<{ readonly system: System }>>;

export type SystemId = keyof typeof SYSTEMS;

export const OURS: SystemId = 'oneflight';
export const FLOOR: SystemId = 'set-nx-publish';

/** Those that were asked for and are not here, and why. */
export const LEFT_OUT = [{ name: 'layercache', why: 'the npm registry has no package of this name' }] as const;

export function systemIds(): SystemId[] {
  return Object.keys(SYSTEMS).filter(isSystemId);
}

export function isSystemId(name: string): name is SystemId {
  return Object.hasOwn(SYSTEMS, name);
}

export async function loadSystem(id: SystemId): Promise<System> {
  return (await SYSTEMS[id]()).system;
}
