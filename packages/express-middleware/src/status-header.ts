import type { Response } from 'express';

import type { HttpBypassReason, UnservedReason } from './tally.js';

/** How a request was answered, in the words of RFC 9211. */
export type CacheStatus =
  /**
   * `alone`: it was let go, as the answer that it waited for was not to be shared. `varies`: the
   * first answer that it waited for was for another variant.
   */
  | { readonly how: 'leader' | 'follower' | 'alone'; readonly varies: boolean; readonly forward?: Forward | undefined }
  /** From the store, `ttlMs` before it is stale; less than 0 after that. */
  | { readonly how: 'hit'; readonly ttlMs: number }
  | { readonly how: 'bypass'; readonly reason: HttpBypassReason }
  | { readonly how: 'unserved'; readonly reason: UnservedReason };

/** Why a request went to its handler although answers are stored, and what came of it. */
export interface Forward {
  /** `request`: it asked for that. `stale`: what is stored is. */
  readonly why: 'uri-miss' | 'stale' | 'request';
  /** What the handler answered, where its caller gets something else. */
  readonly status: number | undefined;
  readonly isStored: boolean;
}

/** Appends to `Cache-Status`: other caches on the way have their own entries, nearer to the origin first. */
export function addCacheStatus(response: Response, name: string | undefined, status: CacheStatus): void {
  if (name !== undefined && !response.headersSent) response.appendHeader('Cache-Status', `${name}; ${parametersOf(status)}`);
}

/** `hit` never comes with `fwd`, and `collapsed` only with it; a key is never told (RFC 9211 section 6). */
function parametersOf(status: CacheStatus): string {
  switch (status.how) {
    case 'leader':
      return missOf(status);
    case 'follower':
      return `${missOf(status)}; collapsed`;
    case 'hit':
      return `hit; ttl=${Math.floor(status.ttlMs / 1_000)}`;
    case 'alone':
      return `${missOf(status)}; collapsed=?0; detail=unshareable`;
    case 'bypass':
      return `fwd=${FORWARDED[status.reason] ?? 'bypass'}; detail=${status.reason}`;
    case 'unserved':
      return `fwd=${status.reason === 'vary' ? 'vary-miss' : 'miss'}; collapsed=?0; detail=${status.reason}`;
  }
}

function missOf({ varies, forward }: { readonly varies: boolean; readonly forward?: Forward | undefined }): string {
  if (forward === undefined) return varies ? 'fwd=vary-miss' : 'fwd=miss';
  const why = varies && forward.why === 'uri-miss' ? 'vary-miss' : forward.why;
  return `fwd=${why}${forward.status === undefined ? '' : `; fwd-status=${forward.status}`}${forward.isStored ? '; stored' : ''}`;
}

const FORWARDED: Partial<Record<HttpBypassReason, string>> = {
  method: 'method',
  no_store: 'request',
  range: 'request',
  condition: 'request',
  body: 'request',
  upgrade: 'request',
};
