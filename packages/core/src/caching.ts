import type { CacheRead, CacheWrite } from './coordinator.js';
import type { CallOptions } from './options.js';
import type { Waiter } from './waiters.js';

/** A stored outcome in this process: what it is, how old it is now, and how long its load took. */
export interface Kept {
  readonly end: { readonly how: 'value'; readonly value: unknown } | { readonly how: 'error'; readonly error: unknown };
  readonly ageMs: number;
  readonly loadMs: number;
}

/** How old stored outcomes may be that answer this call; undefined where none may. */
function cacheReadOf(options: CallOptions): CacheRead | undefined {
  const { lingerMs, ttlMs, staleWhileRevalidateMs, staleIfErrorMs, negativeTtlMs } = options;
  const freshMs = Math.max(lingerMs, ttlMs);
  const freshErrorMs = Math.max(lingerMs, negativeTtlMs);
  if (freshMs === 0 && freshErrorMs === 0) return undefined;
  return { freshMs, freshErrorMs, staleMs: Math.max(freshMs, ttlMs + staleWhileRevalidateMs), staleIfErrorMs: ttlMs + staleIfErrorMs };
}

/** What answers at least one of them; each is then asked by itself. */
export function widestCacheRead(waiters: readonly Waiter[]): CacheRead | undefined {
  let widest: CacheRead | undefined;
  for (const { options } of waiters) {
    const read = cacheReadOf(options);
    if (read === undefined) continue;
    widest ??= read;
    widest = {
      freshMs: Math.max(widest.freshMs, read.freshMs),
      freshErrorMs: Math.max(widest.freshErrorMs, read.freshErrorMs),
      staleMs: Math.max(widest.staleMs, read.staleMs),
      staleIfErrorMs: Math.max(widest.staleIfErrorMs, read.staleIfErrorMs),
    };
  }
  return widest;
}

/** How long the outcome of a load is stored, by the options of the caller that leads. */
export function cacheWriteOf(options: CallOptions, loadMs: number): CacheWrite | undefined {
  const read = cacheReadOf(options);
  if (read === undefined) return undefined;
  const valueMs = read.freshMs === 0 ? 0 : Math.max(read.staleMs, read.staleIfErrorMs);
  return { valueMs, errorMs: read.freshErrorMs, loadMs: Math.ceil(loadMs) };
}

/** Whether a stored outcome may answer this call: as fresh, as stale while somebody loads a new one, or not at all. */
export function verdict({ options }: Waiter, { end, ageMs }: Kept): 'fresh' | 'stale' | undefined {
  const read = cacheReadOf(options);
  if (read === undefined) return undefined;
  if (end.how === 'error') return ageMs < read.freshErrorMs ? 'fresh' : undefined;
  if (ageMs < read.freshMs) return 'fresh';
  return ageMs < read.staleMs ? 'stale' : undefined;
}

/** Whether a stored value may answer this call because the load of a new one failed. */
export function acceptsIfError({ options }: Waiter, { end, ageMs }: Kept): boolean {
  const read = cacheReadOf(options);
  return end.how === 'value' && options.staleIfErrorMs > 0 && read !== undefined && ageMs < read.staleIfErrorMs;
}

/**
 * Whether to refresh a fresh value before it ends: the more likely the closer its end and the longer its load, so that
 * of many readers one refreshes in time. Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede
 * Prevention" (2015), with beta 1.
 */
export function refreshesEarly({ options }: Waiter, { end, ageMs, loadMs }: Kept, random: number): boolean {
  if (!options.earlyRefresh || end.how === 'error') return false;
  return ageMs - loadMs * Math.log(1 - random) >= options.ttlMs;
}
