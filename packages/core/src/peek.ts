import { limited, type ClaimantHost } from './claimant.js';
import type { Kept } from './caching.js';
import type { Codec } from './codec.js';
import type { CoordinatorLink, KeyHash } from './coordinator.js';
import { CoordinatorError } from './errors.js';
import type { StoredValue } from './options.js';

/** What a look at the store needs from its collapser. */
export interface PeekHost extends ClaimantHost {
  readonly opening: Promise<void> | undefined;
  readonly report: ClaimantHost['report'] & { unreadable(): void };
  payInvalidation(key: KeyHash): Promise<CoordinatorError | undefined> | undefined;
}

/** Reads what the coordinator stores for a key; undefined also where it cannot be had: it is never needed. */
export async function peekRemotely(
  host: PeekHost,
  link: CoordinatorLink,
  key: KeyHash,
  codec: Codec | undefined,
): Promise<StoredValue<unknown> | undefined> {
  if (link.peek === undefined) return undefined;
  if (host.opening !== undefined) await host.opening;
  try {
    // Until an owed invalidation is sent, the store may hold the very value that it was to remove.
    const failure = await host.payInvalidation(key);
    if (failure !== undefined) return undefined;
    const request = { key, floor: host.floors.get(key) };
    const stored = await limited(host, 'peek', link.timings.commandTimeoutMs, async () => link.peek?.(request));
    if (stored === undefined || stored.outcome.kind !== 'value' || stored.fencingToken <= host.floors.get(key)) return undefined;
    return { value: (codec ?? link.codec).decode(stored.outcome.bytes), ageMs: stored.ageMs, lifetimes: stored.lifetimes };
  } catch (error) {
    if (!(error instanceof CoordinatorError)) host.report.unreadable();
    return undefined;
  }
}

/** What is kept, for those who look at it; nothing where the load failed. */
export function storedValue(kept: Kept | undefined): StoredValue<unknown> | undefined {
  if (kept?.end.how !== 'value') return undefined;
  return { value: kept.end.value, ageMs: kept.ageMs, lifetimes: kept.lifetimes };
}
