import type { Response } from 'express';

import type { HttpBypassReason, UnservedReason } from './tally.js';

/** How a request was answered, in the words of RFC 9211. */
export type CacheStatus =
  /**
   * `alone`: it was let go, as the answer that it waited for was not to be shared. `varies`: the
   * first answer that it waited for was for another variant.
   */
  | { readonly how: 'leader' | 'follower' | 'alone'; readonly varies: boolean }
  | { readonly how: 'bypass'; readonly reason: HttpBypassReason }
  | { readonly how: 'unserved'; readonly reason: UnservedReason };

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
    case 'alone':
      return `${missOf(status)}; collapsed=?0; detail=unshareable`;
    case 'bypass':
      return `fwd=${FORWARDED[status.reason] ?? 'bypass'}; detail=${status.reason}`;
    case 'unserved':
      return `fwd=${status.reason === 'vary' ? 'vary-miss' : 'miss'}; collapsed=?0; detail=${status.reason}`;
  }
}

function missOf({ varies }: { readonly varies: boolean }): string {
  return varies ? 'fwd=vary-miss' : 'fwd=miss';
}

const FORWARDED: Partial<Record<HttpBypassReason, string>> = {
  method: 'method',
  no_store: 'request',
  range: 'request',
  condition: 'request',
  body: 'request',
  upgrade: 'request',
};
