import { validateHeaderValue } from 'node:http';

import { checkOptions, type Key, type KeyPart, milliseconds, misuse, oneOf, type OptionCheck, wholeNumber } from '@oneflight/core';
import type { Request } from 'express';

import type { Policy } from './cache/terms.js';
import type { Head } from './shareable.js';

/** Options of `collapse`. Each has a section in docs/http.md. */
export interface CollapseOptions {
  /** Which requests are collapsed. `QUERY` needs a `key`, because its body belongs to what is asked. @default ['GET', 'HEAD'] */
  readonly methods?: readonly CollapsibleMethod[];
  /**
   * What counts of the URL. Scheme, host, method, the route, identity and `varyOn` are always part of the key as well.
   * @default the URL as it was asked for
   */
  readonly key?: (request: Request) => Key;
  /**
   * Credentials: part of the key, left out of it, a reason not to collapse, or a function that says whose request it is.
   * @default 'key'
   */
  readonly identity?: 'key' | 'ignore' | 'bypass' | ((request: Request) => KeyPart);
  /** Request headers whose values are part of the key. At most 64. @default none */
  readonly varyOn?: readonly string[];
  /** Requests that are not to be collapsed. @default none */
  readonly skip?: (request: Request) => boolean;
  /** Answers that are not to be shared although the rules of HTTP allow it. It never makes one shareable. @default all may be */
  readonly share?: (request: Request, head: CapturedHead) => boolean;
  /** The ETag that an answer without one gets: weak, strong, or none. @default true, weak */
  readonly etag?: boolean | 'strong';
  /** `Cache-Control` for shared answers whose handler set none; never sent to a request whose credentials are in the key. @default none */
  readonly cacheControl?: string;
  /**
   * `http`: answers are kept for later requests for as long as they allow it themselves, by the rules for a cache that many
   * share (RFC 9111, 5861, 9213), on all replicas of the collapser. @default 'off'
   */
  readonly cache?: 'off' | 'http';
  /**
   * An answer that says nothing of how long it is fresh also answers requests that come up to this long after it was made, in
   * milliseconds; one that says less does for that long. Only answers that may be shared. @default 0
   */
  readonly lingerMs?: number;
  /** How long a request waits for another one's answer before its own handler runs, in milliseconds. @default the collapser's, 30_000 */
  readonly timeoutMs?: number;
  /** When the coordinator is out of reach: collapse inside this process, or answer 503. @default the collapser's, 'load' */
  readonly whenDegraded?: 'load' | 'reject';
  /** Tell in `Cache-Status` (RFC 9211) how a request was answered, under the name 'oneflight' or one of your own. @default false */
  readonly statusHeader?: boolean | string;
  /** Over a limit an answer goes to its own caller only; it is counted and fails nothing. */
  readonly limits?: CollapseLimits;
}

export type CollapsibleMethod = 'GET' | 'HEAD' | 'QUERY';

/** Status and headers of an answer, as they are when its head is sent. Names are lower-case. */
export type CapturedHead = Head;

export interface CollapseLimits {
  /** Size of a shared body in bytes. @default 1_048_576 */
  readonly bodyBytesMax?: number;
  /** Size of a shared answer's headers in bytes. @default 16_384 */
  readonly headersBytesMax?: number;
  /** Size in bytes of all bodies that are being copied at one time in this process. @default 67_108_864 */
  readonly capturedBytesMax?: number;
}

export interface CheckedOptions {
  readonly methods: ReadonlySet<string>;
  readonly key: CollapseOptions['key'];
  readonly identity: NonNullable<CollapseOptions['identity']>;
  readonly varyOn: readonly string[];
  readonly skip: CollapseOptions['skip'];
  readonly share: CollapseOptions['share'];
  readonly etag: boolean | 'strong';
  readonly cacheControl: string | undefined;
  /** Absent: nothing is kept after those who wait were answered. */
  readonly policy: Policy | undefined;
  /** What is passed on to the collapser where it was given. */
  readonly call: { readonly timeoutMs?: number; readonly whenDegraded?: 'load' | 'reject' };
  readonly statusName: string | undefined;
  readonly limits: Required<CollapseLimits>;
}

/** Fills in the defaults. @throws TypeError ERR_ONEFLIGHT_OPTION for an unknown name, a wrong value, or a contradiction */
export function checkCollapseOptions(options: CollapseOptions): CheckedOptions {
  checkOptions('options', options, CHECKS);
  const { methods = METHODS, identity = DEFAULTS.identity, etag = DEFAULTS.etag, varyOn = [] } = options;
  const {
    key,
    skip,
    share,
    cacheControl,
    timeoutMs,
    whenDegraded,
    statusHeader = false,
    cache = DEFAULTS.cache,
    lingerMs = DEFAULTS.lingerMs,
  } = options;
  if (methods.includes('QUERY') && key === undefined) {
    throw misuse('ERR_ONEFLIGHT_OPTION', "options.key with the method 'QUERY', because the body belongs to what is asked", 'none');
  }
  return {
    ...{ key, identity, skip, share, etag, cacheControl },
    policy: cache === 'http' || lingerMs > 0 ? { lingerMs, obeys: cache === 'http' } : undefined,
    methods: new Set(methods),
    varyOn: [...new Set(varyOn.map((name) => name.toLowerCase()))].sort(),
    call: { ...(timeoutMs !== undefined && { timeoutMs }), ...(whenDegraded !== undefined && { whenDegraded }) },
    statusName: statusName(statusHeader),
    limits: checkLimits(options.limits ?? {}),
  };
}

function checkLimits(limits: CollapseLimits): Required<CollapseLimits> {
  checkOptions('options.limits', limits, LIMIT_CHECKS);
  const { bodyBytesMax, headersBytesMax, capturedBytesMax } = DEFAULTS;
  return {
    bodyBytesMax: limits.bodyBytesMax ?? bodyBytesMax,
    headersBytesMax: limits.headersBytesMax ?? headersBytesMax,
    capturedBytesMax: limits.capturedBytesMax ?? capturedBytesMax,
  };
}

const METHODS: readonly CollapsibleMethod[] = ['GET', 'HEAD'];

const DEFAULTS = Object.freeze({
  identity: 'key',
  etag: true,
  cache: 'off',
  lingerMs: 0,
  bodyBytesMax: 1_048_576,
  headersBytesMax: 16_384,
  capturedBytesMax: 67_108_864,
});

const VARY_NAMES_MAX = 64;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;

/** The name in the form of RFC 8941: a token, else a quoted string. */
function statusName(option: boolean | string): string | undefined {
  if (typeof option === 'boolean') return option ? 'oneflight' : undefined;
  return /^[A-Za-z*][\w:/!#$%&'*+.^`|~-]*$/.test(option) ? option : `"${option.replaceAll(/["\\]/g, '\\$&')}"`;
}

const isFunction =
  (what: string): OptionCheck =>
  (value) =>
    typeof value === 'function' ? undefined : what;

const CHECKS: Readonly<Record<string, OptionCheck>> = {
  methods: (value) =>
    Array.isArray(value) && value.length > 0 && value.every((item) => ['GET', 'HEAD', 'QUERY'].includes(String(item)))
      ? undefined
      : "a list of 'GET', 'HEAD' and 'QUERY'",
  key: isFunction('a function from the request to a key'),
  identity: (value) =>
    typeof value === 'function' || ['key', 'ignore', 'bypass'].includes(String(value))
      ? undefined
      : "'key', 'ignore', 'bypass', or a function from the request to a key part",
  varyOn: (value) =>
    Array.isArray(value) && value.length <= VARY_NAMES_MAX && value.every((name) => typeof name === 'string' && TOKEN.test(name))
      ? undefined
      : `a list of at most ${VARY_NAMES_MAX} names of request headers`,
  skip: isFunction('a function of the request'),
  share: isFunction('a function of the request and the head of its answer'),
  etag: oneOf(true, false, 'strong'),
  cacheControl: (value) =>
    typeof value === 'string' && isHeaderValue(value) && !/(?:^|[\s,])(?:private|no-store)\b/i.test(value)
      ? undefined
      : "a value of Cache-Control without 'private' and 'no-store', which nobody could share",
  cache: oneOf('off', 'http'),
  lingerMs: milliseconds(0),
  timeoutMs: milliseconds(1, { infinity: true }),
  whenDegraded: oneOf('load', 'reject'),
  statusHeader: (value) =>
    typeof value === 'boolean' || (typeof value === 'string' && /^[\x20-\x7e]{1,64}$/.test(value))
      ? undefined
      : 'a boolean or a name of 1 to 64 printable ASCII characters',
  limits: () => undefined,
};

const LIMIT_CHECKS: Readonly<Record<string, OptionCheck>> = {
  bodyBytesMax: wholeNumber(0),
  headersBytesMax: wholeNumber(0),
  capturedBytesMax: wholeNumber(0),
};

function isHeaderValue(value: string): boolean {
  try {
    validateHeaderValue('Cache-Control', value);
    return value.trim() !== '';
  } catch {
    return false;
  }
}
