import type { OutgoingHttpHeader } from 'node:http';

import type { Request, Response } from 'express';

import type { Body } from './body.js';
import type { Terms } from './cache/terms.js';
import { variantOf } from './key.js';
import { type Head, varyOf } from './shareable.js';

/** What others get of an answer besides its body: what the handler made of it, nothing of what was on the response before. */
export interface AnswerHead {
  readonly status: number;
  /** The reason phrase, where the handler chose one. */
  readonly message: string | undefined;
  readonly headers: readonly AnswerHeader[];
  /** Names of headers that were set before and that the handler took away. */
  readonly removed: readonly string[];
  /** Size of the body in bytes; of one that is still being made, or the answer to a HEAD, what the handler said, if it did. */
  readonly length: number | undefined;
  /** Names of the request headers that the answer depends on, and a hash of the leader's values of them. */
  readonly vary: readonly string[];
  readonly variant: string;
}

/** An answer in the form that travels. */
export interface Answer extends AnswerHead {
  readonly body: Uint8Array;
  /** How old it was when it was complete, in milliseconds; 0 for one that was made then. */
  readonly ageMs?: number;
  /** For how long it may be used by later requests. Absent: by none. */
  readonly terms?: Terms;
}

/** An answer whose body is still being made, for those in the same process. */
export class LiveAnswer {
  readonly head: AnswerHead;
  readonly body: Body;

  constructor(head: AnswerHead, body: Body) {
    this.head = head;
    this.body = body;
  }
}

export type AnswerHeader = readonly [name: string, value: string | readonly string[]];

/** Headers of a response by lower-case name. */
export type HeaderMap = ReadonlyMap<string, string | readonly string[]>;

/** Takes the headers of a response as they are now. */
export function headersOf(response: Response): Map<string, string | readonly string[]> {
  const map = new Map<string, string | readonly string[]>();
  for (const [name, value] of Object.entries(response.getHeaders())) if (value !== undefined) map.set(name, asText(value));
  return map;
}

/** What others may have of the headers: those that were added or changed after `before`, and that belong to the answer itself. */
export function sharedHeaders(before: HeaderMap, after: HeaderMap): readonly AnswerHeader[] {
  const hops = hopsOf(after);
  return [...after].filter(([name, value]) => !isOwn(name) && !hops.has(name) && !isSame(before.get(name), value));
}

/** What the handler took away. */
export function removedHeaders(before: HeaderMap, after: HeaderMap): readonly string[] {
  return [...before.keys()].filter((name) => !isOwn(name) && !after.has(name));
}

/** Whether a header belongs to one connection, moment, request or caller; no other caller ever gets it. */
export function isOwn(name: string): boolean {
  return OWN_HEADERS.has(name) || name.startsWith('ratelimit') || name.startsWith('x-ratelimit');
}

/** The size of headers on the wire. */
export function headerBytes(headers: readonly AnswerHeader[]): number {
  let bytes = 0;
  for (const [name, value] of headers) {
    for (const line of typeof value === 'string' ? [value] : value) bytes += name.length + Buffer.byteLength(line) + ': \r\n'.length;
  }
  return bytes;
}

/**
 * The request headers that an answer depends on: those that it names, and those that what it holds gives away. An encoded
 * body is for those who accept the encoding, an allowed origin is for that origin, said or not.
 */
export function dependenciesOf({ headers }: Head, before: HeaderMap): readonly string[] {
  const names = new Set(varyOf(headers));
  if (headers.has('content-encoding')) names.add('accept-encoding');
  const origin = headers.get('access-control-allow-origin');
  if (origin !== undefined && origin !== '*' && !isSame(before.get('access-control-allow-origin'), origin)) names.add('origin');
  return [...names].sort();
}

/** Whether an answer that depends on these request headers is one for this request. */
export function isFor(request: Request, { vary, variant }: AnswerHead): boolean {
  return variantOf(request, vary) === variant;
}

const OWN_HEADERS = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'content-length'],
  ...['proxy-authenticate', 'proxy-authorization', 'www-authenticate', 'authentication-info', 'proxy-authentication-info'],
  ...['set-cookie', 'set-cookie2', 'clear-site-data', 'cache-status', 'server-timing', 'retry-after'],
  ...['x-request-id', 'request-id', 'x-correlation-id', 'x-amzn-trace-id', 'x-amzn-requestid', 'x-cloud-trace-context', 'x-trace-id'],
  ...['traceparent', 'tracestate', 'traceresponse', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled'],
  ...['x-response-time', 'x-runtime'],
]);

/** Headers that `Connection` names are of this connection (RFC 9110 section 7.6.1). */
function hopsOf(headers: HeaderMap): ReadonlySet<string> {
  const named = [headers.get('connection') ?? []].flat().join(',').toLowerCase().split(',');
  return new Set(named.map((name) => name.trim()));
}

function isSame(before: string | readonly string[] | undefined, after: string | readonly string[]): boolean {
  if (before === undefined || typeof before === 'string') return before === after;
  return typeof after !== 'string' && before.length === after.length && before.every((line, index) => line === after[index]);
}

function asText(value: OutgoingHttpHeader): string | readonly string[] {
  return Array.isArray(value) ? value.map(String) : String(value);
}
