import type { IncomingHttpHeaders } from 'node:http';

import { parseControl, secondsOf } from './control.js';

/** What a request asks of an answer from the store, in milliseconds (RFC 9111 section 5.2.1). */
export interface Demands {
  /** It may be this old. Undefined: as old as the answer allows. */
  readonly maxAgeMs: number | undefined;
  /** It must stay fresh for this long. */
  readonly minFreshMs: number;
  /** It may be stale for this long. */
  readonly maxStaleMs: number;
  readonly onlyIfCached: boolean;
}

/** What is used of an answer from the store. */
export interface StoredTerms {
  readonly ttlMs: number;
  readonly isStrict: boolean;
}

/** What a request demands; what cannot be read demands the most. `no-cache` is a `max-age` of 0. */
export function demandsOf(headers: IncomingHttpHeaders): Demands {
  const control = parseControl(headers['cache-control']);
  const seconds = (name: string, unreadable: number): number | undefined => {
    const said = secondsOf(control, name);
    return said === undefined ? undefined : (said ?? unreadable) * 1_000;
  };
  const isReload = control.has('no-cache') || (headers['cache-control'] === undefined && parseControl(headers.pragma).has('no-cache'));
  const anyStale = control.get('max-stale')?.join() === '';
  return {
    maxAgeMs: isReload ? 0 : seconds('max-age', 0),
    minFreshMs: seconds('min-fresh', Number.POSITIVE_INFINITY) ?? 0,
    maxStaleMs: anyStale ? Number.POSITIVE_INFINITY : (seconds('max-stale', 0) ?? 0),
    onlyIfCached: control.has('only-if-cached'),
  };
}

/** Whether an answer of this age may be used for a request that demands this, without asking anybody (RFC 9111 section 4). */
export function allows({ maxAgeMs, minFreshMs, maxStaleMs }: Demands, { ttlMs, isStrict }: StoredTerms, ageMs: number): boolean {
  if (maxAgeMs === 0 || (maxAgeMs !== undefined && ageMs > maxAgeMs)) return false;
  if (ageMs < ttlMs) return ttlMs - ageMs >= minFreshMs;
  return minFreshMs === 0 && !isStrict && ageMs < ttlMs + maxStaleMs;
}
