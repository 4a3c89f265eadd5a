import type { ResolvedOptions } from './options.js';
import { prepareScript } from './prepared-script.js';
import { claim, invalidate, peek, release, renew, settle } from './scripts/generated.js';
import type { KeyNames } from './scripts/keys.js';

export type LinkScripts = ReturnType<typeof linkScripts>;

/** The scripts of a link with what is the same in each of their calls, shorter where less is asked for. */
export function linkScripts(names: KeyNames, options: ResolvedOptions, isCluster: boolean, broadcast: string) {
  const { lease, state, waiters, outcome, value, failure } = names;
  const { leaseMs, retainMs } = options;
  const flight = { lease, state, waiters, outcome };
  const stored = { value, failure };
  const [stateMs, floorMs, hearsAll] = [2 * leaseMs, FLOOR_MS, isCluster ? 0 : 1];
  const claiming = { ...flight, leaseMs, stateMs, floorMs, waitersMs: waitersMs(options) };
  const settling = { ...flight, retainMs, recoveryMs: Math.min(retainMs, recoveryMs(options)), hearsAll };
  return {
    claim: prepareScript(claim, { ...claiming, ...stored }),
    claimUncached: prepareScript({ ...claim, keys: OF_A_FLIGHT }, claiming),
    renew: prepareScript(renew, { lease, state, waiters, leaseMs, stateMs }),
    settle: prepareScript({ ...settle, keys: [...OF_A_FLIGHT, ...OF_THE_STORE] as const }, { ...settling, ...stored }),
    settleUncached: prepareScript({ ...settle, keys: OF_A_FLIGHT }, settling),
    settleOnCluster: prepareScript(settle, { ...settling, ...stored }),
    release: prepareScript(release, { lease, state, waiters, stateMs, hearsAll }),
    invalidate: prepareScript(invalidate, { lease, state, ...stored, broadcast, floorMs }),
    peek: prepareScript(peek, { state, value }),
  };
}

/** Both scripts begin with these keys, and go on with those of the store. */
const OF_A_FLIGHT = ['lease', 'state', 'waiters', 'outcome'] as const;
const OF_THE_STORE = ['value', 'failure'] as const;

/** Longer than any load may run: what was begun before an invalidation finds its floor when it ends. */
export const FLOOR_MS = 600_000;

/** How long a waiter is remembered: two of its longest rechecks. */
export function waitersMs({ recheckMs, leaseMs }: Pick<ResolvedOptions, 'recheckMs' | 'leaseMs'>): number {
  return Math.max(8 * recheckMs + 1_000, leaseMs);
}

/** The longest recheck of a waiter that the server does not know, with its jitter, and the longest that its claim may take. */
function recoveryMs({ recheckMs, commandTimeoutMs }: Pick<ResolvedOptions, 'recheckMs' | 'commandTimeoutMs'>): number {
  return 4 * recheckMs + Math.ceil(recheckMs / 5) + 8 * commandTimeoutMs;
}
