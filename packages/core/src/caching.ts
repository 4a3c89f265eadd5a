import type { CacheRead, CacheWrite, CopyRead, StoredLifetimes } from './coordinator.js';
import type { CallOptions, Lifetimes } from './options.js';
import type { Waiter } from './waiters.js';

/** A stored outcome in this process: what it is, how old it is now, and how long its load took. */
export interface Kept {
  readonly end: { readonly how: 'value'; readonly value: unknown } | { readonly how: 'error'; readonly error: unknown };
  readonly ageMs: number;
  readonly loadMs: number;
  /** What the value allows by its own word; absent where its load said nothing. */
  readonly lifetimes?: StoredLifetimes | undefined;
}

/** How old stored outcomes may be that answer this call; undefined where none may. */
function cacheReadOf(options: CallOptions): CacheRead | undefined {
  return options.freshness === 'strict' ? undefined : lifetimesOf(options);
}

/** What the call's options say of how old stored outcomes may be, whether it reads them itself or only stores them. */
function lifetimesOf(options: CallOptions): CacheRead | undefined {
  const { lingerMs, ttlMs, staleWhileRevalidateMs, staleIfErrorMs, negativeTtlMs } = options;
  const freshMs = Math.max(lingerMs, ttlMs);
  const freshErrorMs = Math.max(lingerMs, negativeTtlMs);
  const revalidateMs = options.revalidateMs === 0 ? 0 : ttlMs + options.revalidateMs;
  if (freshMs === 0 && freshErrorMs === 0 && revalidateMs === 0) return undefined;
  const staleMs = Math.max(freshMs, ttlMs + staleWhileRevalidateMs);
  return { freshMs, freshErrorMs, staleMs, staleIfErrorMs: ttlMs + staleIfErrorMs, revalidateMs };
}

/** What a reader gets of a value that says itself for how long it may be used: the lower of each. */
export function limitedBy(own: StoredLifetimes | undefined, read: CacheRead): CacheRead {
  if (own === undefined) return read;
  const freshMs = Math.min(read.freshMs, own.ttlMs);
  const beyond = (untilMs: number, ownMs: number): number => freshMs + Math.min(Math.max(0, untilMs - read.freshMs), ownMs);
  return {
    ...read,
    freshMs,
    staleMs: beyond(read.staleMs, own.staleWhileRevalidateMs),
    staleIfErrorMs: beyond(read.staleIfErrorMs, own.staleIfErrorMs),
  };
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
      revalidateMs: Math.max(widest.revalidateMs ?? 0, read.revalidateMs ?? 0),
    };
  }
  return widest;
}

/**
 * What a copy in this process has to be to answer all of them; undefined where one of them is to ask the coordinator, as
 * each does that must not miss an invalidation whose message is still under way.
 */
export function copyReadOf(waiters: readonly Waiter[]): CopyRead | undefined {
  const copy = { freshMs: waiters.length === 0 ? 0 : Number.POSITIVE_INFINITY, refreshesEarly: false };
  for (const { options } of waiters) {
    const { earlyRefresh, ttlMs, freshness } = options;
    const acceptedMs = freshness === 'join' ? (cacheReadOf(options)?.freshMs ?? 0) : 0;
    copy.freshMs = Math.min(copy.freshMs, acceptedMs, earlyRefresh ? ttlMs : Number.POSITIVE_INFINITY);
    copy.refreshesEarly ||= earlyRefresh;
  }
  return copy.freshMs > 0 ? copy : undefined;
}

/** What was stored is known and did not do: it is wanted once more only as what a load may find to hold still. */
export function onlyToRevalidate(read: CacheRead | undefined): CacheRead | undefined {
  const revalidateMs = read?.revalidateMs ?? 0;
  return revalidateMs === 0 ? undefined : { freshMs: 0, freshErrorMs: 0, staleMs: 0, staleIfErrorMs: 0, revalidateMs };
}

/** How long the outcome of a load is stored: a value by what its load said, else by the options of the caller that leads. */
export function cacheWriteOf(options: CallOptions, loadMs: number, said: Lifetimes | undefined): CacheWrite | undefined {
  const read = lifetimesOf(options);
  if (read === undefined && said === undefined) return undefined;
  const errorMs = read?.freshErrorMs ?? 0;
  if (said !== undefined) return { ...bySaid(said), errorMs, loadMs: Math.ceil(loadMs) };
  const valueMs = read === undefined || read.freshMs === 0 ? 0 : Math.max(read.staleMs, read.staleIfErrorMs, read.revalidateMs ?? 0);
  return { valueMs, errorMs, loadMs: Math.ceil(loadMs) };
}

function bySaid(said: Lifetimes): Pick<CacheWrite, 'valueMs' | 'lifetimes' | 'ageMs'> {
  const { ttlMs, staleWhileRevalidateMs = 0, staleIfErrorMs = 0, revalidateMs = 0, ageMs = 0 } = said;
  const valueMs = Math.max(0, ttlMs + Math.max(staleWhileRevalidateMs, staleIfErrorMs, revalidateMs) - ageMs);
  return { valueMs, lifetimes: { ttlMs, staleWhileRevalidateMs, staleIfErrorMs }, ageMs };
}

/** Whether a stored outcome may answer this call: as fresh, as stale while somebody loads a new one, or not at all. */
export function verdict({ options }: Waiter, { end, ageMs, lifetimes }: Kept): 'fresh' | 'stale' | undefined {
  const accepted = cacheReadOf(options);
  if (accepted === undefined) return undefined;
  const read = limitedBy(lifetimes, accepted);
  if (end.how === 'error') return ageMs < read.freshErrorMs ? 'fresh' : undefined;
  if (ageMs < read.freshMs) return 'fresh';
  return ageMs < read.staleMs ? 'stale' : undefined;
}

/** Whether a stored value may answer this call because the load of a new one failed. */
export function acceptsIfError({ options }: Waiter, { end, ageMs, lifetimes }: Kept): boolean {
  const read = cacheReadOf(options);
  return end.how === 'value' && options.staleIfErrorMs > 0 && read !== undefined && ageMs < limitedBy(lifetimes, read).staleIfErrorMs;
}

/**
 * Whether to refresh a fresh value before it ends: the more likely the closer its end and the longer its load, so that
 * of many readers one refreshes in time. Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede
 * Prevention" (2015), with beta 1.
 */
export function refreshesEarly({ options }: Waiter, { end, ageMs, loadMs, lifetimes }: Kept, random: number): boolean {
  if (!options.earlyRefresh || end.how === 'error') return false;
  return ageMs - loadMs * Math.log(1 - random) >= Math.min(options.ttlMs, lifetimes?.ttlMs ?? options.ttlMs);
}
