import type { Request } from 'express';

/** Status and headers of an answer; names are lower-case. */
export interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string | readonly string[]>;
}

/** Why a request is about itself only. */
export type OwnBusiness = 'body' | 'condition' | 'no_store' | 'range' | 'upgrade';

/**
 * Why a request may not be answered by another one's answer: it asks for a part, states a condition on a change, brings a
 * body, or forbids storing. A QUERY has its body in the key.
 */
export function ownBusinessOf(request: Request): OwnBusiness | undefined {
  const { headers, method } = request;
  if (headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined) return 'condition';
  if (headers.upgrade !== undefined) return 'upgrade';
  if (method !== 'QUERY' && (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0')) return 'body';
  const control = headers['cache-control'];
  if (control !== undefined && directives(control).some(({ name }) => name === 'no-store')) return 'no_store';
  // Last, because a part may be had from the store where nothing else stands against it.
  return headers.range !== undefined || headers['if-range'] !== undefined ? 'range' : undefined;
}

/** Why an answer belongs to its own caller alone. */
export type UnshareableReason =
  | 'busy'
  | 'cache_control'
  | 'credentials'
  | 'header'
  | 'headers_too_large'
  | 'incomplete'
  | 'nonce'
  | 'set_cookie'
  | 'share'
  | 'status'
  | 'streaming'
  | 'too_large'
  | 'trailer'
  | 'vary';

/** Why the head of an answer forbids giving it to others than its own caller; undefined when nothing in it does. */
export function whyUnshareable({ status, headers }: Head): UnshareableReason | undefined {
  if (!SHAREABLE_STATUSES.has(status)) return 'status';
  if (headers.has('set-cookie') || headers.has('set-cookie2')) return 'set_cookie';
  if (headers.has('trailer')) return 'trailer';
  if (PERSONAL_HEADERS.some((name) => headers.has(name))) return 'header';
  if (CONTROLS.some((name) => directives(headers.get(name)).some(isPrivate))) return 'cache_control';
  const vary = varyOf(headers);
  if (vary.includes('*') || vary.length > VARY_NAMES_MAX) return 'vary';
  const type = textOf(headers.get('content-type')).trim();
  if (STREAMS.some((stream) => type.startsWith(stream))) return 'streaming';
  const isPage = type === '' || type.includes('html');
  return isPage && POLICIES.some((name) => textOf(headers.get(name)).includes("'nonce-")) ? 'nonce' : undefined;
}

/** Types of answers that have no end. */
const STREAMS = ['text/event-stream', 'multipart/x-mixed-replace'] as const;

/** Final answers about the thing that was asked for, and not about how or by whom it was asked (RFC 9110 section 15). */
export const SHAREABLE_STATUSES: ReadonlySet<number> = new Set([200, 203, 204, 300, 301, 308, 404, 410]);
const PERSONAL_HEADERS = ['clear-site-data', 'www-authenticate', 'proxy-authenticate', 'authentication-info', 'upgrade', 'content-range'];
/** The strictest counts: it is the word of somebody who knew that the answer is not for all. */
const CONTROLS = ['cache-control', 'cdn-cache-control', 'surrogate-control'] as const;
/** A nonce is good for one page. The header is often set outside, the page then holds the leader's. */
const POLICIES = ['content-security-policy', 'content-security-policy-report-only'] as const;
const VARY_NAMES_MAX = 64;

/** `private="x-user"` counts as `private`: sharing the rest of the answer is not worth a mistake. */
function isPrivate({ name, value }: Directive): boolean {
  return name === 'private' || name === 'no-store' || (name === 'no-cache' && value !== '');
}

/** Whether an answer may be shared although its request carried an Authorization that the key does not hold (RFC 9111 section 3.5). */
export function isForAll({ headers }: Head): boolean {
  return directives(headers.get('cache-control')).some(({ name }) => FOR_ALL.has(name));
}

const FOR_ALL = new Set(['public', 's-maxage', 'must-revalidate']);

/** The request headers that an answer depends on by its own word, lower-case and sorted. */
export function varyOf(headers: Head['headers']): readonly string[] {
  const names = textOf(headers.get('vary'))
    .split(',')
    .map((name) => name.trim());
  return [...new Set(names.filter((name) => name !== ''))].sort();
}

interface Directive {
  readonly name: string;
  readonly value: string;
}

/** Splits at each comma, also inside quotes: that can only find more directives, never hide one. */
export function directives(value: string | readonly string[] | undefined): readonly Directive[] {
  if (value === undefined) return [];
  return textOf(value)
    .split(',')
    .map((directive) => {
      const [name = '', ...rest] = directive.split('=');
      return { name: name.replaceAll('"', '').trim(), value: rest.join('=').trim() };
    });
}

/** One lower-case text of all lines of a header. */
function textOf(value: string | readonly string[] | undefined): string {
  return (typeof value === 'string' ? value : (value ?? []).join(',')).toLowerCase();
}
