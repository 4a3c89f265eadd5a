import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

import type { Request, Response } from 'express';

import type { HeaderMap } from './answer.js';
import { directives } from './shareable.js';

/** What a caller has already, and under which condition it wants to get the answer again. */
export interface Conditions {
  readonly noneMatch: string | undefined;
  readonly modifiedSince: string | undefined;
  /** A caller that reloads wants the whole answer (`Cache-Control: no-cache`), as everywhere in Express. */
  readonly wantsAll: boolean;
}

/** The conditions of a request; undefined for one without. */
export function conditionsOf(headers: IncomingHttpHeaders): Conditions | undefined {
  const { 'if-none-match': noneMatch, 'if-modified-since': modifiedSince } = headers;
  if (noneMatch === undefined && modifiedSince === undefined) return undefined;
  return {
    noneMatch,
    modifiedSince,
    wantsAll: directives(headers['cache-control']).some(({ name }) => name === 'no-cache'),
  };
}

/** The answer is for everyone, so the leader's own condition must not turn it into an empty 304. */
export function hideConditions(request: Request): void {
  delete request.headers['if-none-match'];
  delete request.headers['if-modified-since'];
}

/** Whether a caller has the answer with these headers already (RFC 9110 section 13.2.2). */
export function isFresh({ noneMatch, modifiedSince, wantsAll }: Conditions, headers: HeaderMap): boolean {
  if (wantsAll) return false;
  if (noneMatch !== undefined) {
    const etag = headers.get('etag');
    if (typeof etag !== 'string') return false;
    return noneMatch.trim() === '*' || (noneMatch.match(ENTITY_TAG) ?? []).some((tag) => weak(tag) === weak(etag));
  }
  const modified = headers.get('last-modified');
  if (modifiedSince === undefined || typeof modified !== 'string') return false;
  return Date.parse(modified) <= Date.parse(modifiedSince);
}

/** Turns a response whose caller has the answer already into a 304 (RFC 9110 section 15.4.5). */
export function omitContent(response: Response): void {
  for (const name of response.getHeaderNames()) {
    if (name === 'transfer-encoding' || (name.startsWith('content-') && !KEPT.has(name))) response.removeHeader(name);
  }
}

const KEPT = new Set(['content-location', 'content-security-policy', 'content-security-policy-report-only']);

/** The same on every replica for the same bytes. */
export function entityTag(body: Uint8Array, kind: true | 'strong'): string {
  const tag = `"${body.byteLength.toString(16)}-${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`;
  return kind === 'strong' ? tag : `W/${tag}`;
}

const ENTITY_TAG = /(?:W\/)?"[^"]*"/g;

function weak(tag: string): string {
  return tag.startsWith('W/') ? tag.slice(2) : tag;
}
