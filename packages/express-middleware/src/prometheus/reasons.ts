import type { UnshareableReason } from '../shareable.js';
import type { HttpBypassReason, LeftWhile, UnservedReason } from '../tally.js';

/** Every value of each label, so that each series is there, at 0, before anything happens. The compiler keeps them complete. */
export const BYPASS_REASONS = all<HttpBypassReason>({
  ...{
    body: 0,
    condition: 0,
    credentials: 0,
    hit_for_miss: 0,
    method: 0,
    nested: 0,
    no_store: 0,
    range: 0,
    skip: 0,
    unsupported: 0,
    upgrade: 0,
  },
});

export const UNSHAREABLE_REASONS = all<UnshareableReason>({
  ...{ busy: 0, cache_control: 0, credentials: 0, header: 0, headers_too_large: 0, incomplete: 0, nonce: 0, set_cookie: 0, share: 0 },
  ...{ status: 0, streaming: 0, too_large: 0, trailer: 0, vary: 0 },
});

export const UNSERVED_REASONS = all<UnservedReason>({ error: 0, timeout: 0, vary: 0 });

export const LEFT_WHILE = all<LeftWhile>({ handling: 0, reading: 0, waiting: 0 });

/** How a request ended. */
export type HttpOutcome =
  | 'bypass'
  | 'copy'
  | 'elsewhere'
  | 'failed'
  | 'fresh'
  | 'handler'
  | 'left'
  | 'live'
  | 'missing'
  | 'stale'
  | 'unserved';

export const HTTP_OUTCOMES = all<HttpOutcome>({
  ...{ bypass: 0, copy: 0, elsewhere: 0, failed: 0, fresh: 0, handler: 0, left: 0, live: 0, missing: 0, stale: 0, unserved: 0 },
});

function all<T extends string>(values: Readonly<Record<T, 0>>): readonly T[] {
  const names: T[] = [];
  for (const name in values) names.push(name);
  return names;
}
