import { canonicalKey, hashKey } from '../../src/key.js';

/** The name of all collapsers of a run. */
export const NAMESPACE = 'simulated';

/** What calls of a run ask for. */
export const KEYS = ['alpha', 'beta', 'gamma'] as const;

const NAMES = new Map<string, string>(KEYS.map((key) => [hashKey(NAMESPACE, canonicalKey(key)), key]));

/** The key that a hash stands for, where it is one of a run. */
export function keyName(hash: string): string {
  return NAMES.get(hash) ?? hash;
}
