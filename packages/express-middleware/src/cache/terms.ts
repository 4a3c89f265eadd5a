import type { Head } from '../shareable.js';
import { type Control, controlOf, secondsOf, SECONDS_MAX } from './control.js';
import { parseHttpDate } from './http-date.js';

/** For how long an answer may be used, by its own word: in milliseconds, counted from when it was made. */
export interface Terms {
  readonly ttlMs: number;
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  /** How long it is kept after it is stale, for a handler that is asked whether it still holds. */
  readonly revalidateMs: number;
  /** Once stale it must not be used, not even for a request that would take it. */
  readonly isStrict: boolean;
  /** Its body was made for a request with `Authorization`: an answer that renews it has to allow its use as well. */
  readonly wasAuthorized: boolean;
}

/** What the answer of a handler allows, and how old it is already. */
export interface Assessment {
  readonly terms: Omit<Terms, 'wasAuthorized'>;
  readonly ageMs: number;
}

/** What decides beside the answer. */
export interface Policy {
  /** How long an answer is fresh that says nothing about it. */
  readonly lingerMs: number;
  /** Whether what an answer says about it counts for more than `lingerMs`. */
  readonly obeys: boolean;
}

/**
 * For how long an answer may be used by RFC 9111 section 4.2 and RFC 5861. The handler is the origin: an answer without an
 * `Age` is made now, however long it took. Where two readings are possible the shorter one holds.
 */
export function assess({ headers }: Head, { lingerMs, obeys }: Policy, now: number): Assessment {
  const { control, isTargeted } = controlOf(headers);
  const date = dateOf(headers);
  const said = lifetimeOf(control, isTargeted ? undefined : headers.get('expires'), date ?? now);
  const ageMs = ageOf(headers, date, now);
  const explicitMs = control.has('no-cache') || control.has('no-store') || control.has('private') ? 0 : said;
  if (!obeys) {
    const ttlMs = explicitMs === undefined ? lingerMs : Math.min(explicitMs, lingerMs);
    return { terms: { ttlMs, staleWhileRevalidateMs: 0, staleIfErrorMs: 0, revalidateMs: 0, isStrict: true }, ageMs };
  }
  const isStrict = STRICT.some((name) => control.has(name));
  const after = (name: string): number => (isStrict ? 0 : milliseconds(secondsOf(control, name) ?? 0));
  const hasTerms = explicitMs !== undefined;
  const isValidated = headers.has('etag') || headers.has('last-modified');
  return {
    terms: {
      ttlMs: milliseconds((explicitMs ?? lingerMs) / 1_000),
      staleWhileRevalidateMs: hasTerms ? after('stale-while-revalidate') : 0,
      staleIfErrorMs: hasTerms ? after('stale-if-error') : 0,
      revalidateMs: hasTerms && isValidated ? REVALIDATE_MS : 0,
      isStrict,
    },
    ageMs,
  };
}

/** With these an answer is never used once it is stale (RFC 9111 section 4.2.4); `s-maxage` says it for caches that many share. */
const STRICT = ['must-revalidate', 'proxy-revalidate', 's-maxage', 'no-cache'];
/** How long a validator is worth keeping. */
const REVALIDATE_MS = 3_600_000;
/** Longer than this is as long as for ever: Node's longest timer, and what core takes. */
export const TERM_MS_MAX = 2_147_483_647;

function milliseconds(seconds: number): number {
  return Math.min(Math.max(0, seconds) * 1_000, TERM_MS_MAX);
}

/** RFC 9111 section 4.2.1. Undefined where the answer says nothing. */
function lifetimeOf(control: Control, expires: string | readonly string[] | undefined, date: number): number | undefined {
  for (const name of ['s-maxage', 'max-age']) {
    const seconds = secondsOf(control, name);
    if (seconds !== undefined) return (seconds ?? 0) * 1_000;
  }
  if (expires === undefined) return undefined;
  const until = typeof expires === 'string' ? parseHttpDate(expires) : undefined;
  return until === undefined ? 0 : Math.max(0, until - date);
}

/** RFC 9111 section 4.2.3. An `Age` that cannot be read is as old as can be. */
function ageOf(headers: Head['headers'], date: number | undefined, now: number): number {
  const said = headers.get('age');
  const seconds =
    said === undefined ? 0 : typeof said === 'string' && /^\d+$/.test(said) ? Math.min(Number(said), SECONDS_MAX) : SECONDS_MAX;
  // Dates have no fractions: an answer that says "now" is not up to a second old.
  const apparentMs = date === undefined ? 0 : Math.max(0, Math.floor(now / 1_000) * 1_000 - date);
  return Math.min(Math.max(apparentMs, seconds * 1_000), TERM_MS_MAX);
}

function dateOf(headers: Head['headers']): number | undefined {
  const said = headers.get('date');
  return typeof said === 'string' ? parseHttpDate(said) : undefined;
}
