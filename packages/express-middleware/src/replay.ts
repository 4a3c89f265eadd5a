import type { Request, Response } from 'express';

import type { Captured } from './capture.js';
import { variantOf } from './key.js';

/**
 * Answers a follower with the leader's answer. Each caller's own condition (`If-None-Match`, `If-Modified-Since`) holds
 * for it alone.
 * @returns false, with the response untouched, when the answer is for requests with other headers (`Vary`)
 */
export function replay(request: Request, response: Response, captured: Captured): boolean {
  if (variantOf(request, captured.vary) !== captured.variant) return false;
  response.statusCode = captured.status;
  for (const [name, value] of captured.headers) response.setHeader(name, value);
  if (request.fresh) {
    response.statusCode = 304;
    for (const name of ['content-type', 'content-encoding', 'content-language']) response.removeHeader(name);
    response.end();
    return true;
  }
  if (request.method === 'HEAD') response.end();
  else response.setHeader('Content-Length', captured.body.byteLength).end(captured.body);
  return true;
}

/** What arrives from another replica is checked before it becomes an answer. */
export function isCaptured(value: unknown): value is Captured {
  if (typeof value !== 'object' || value === null) return false;
  const { status, headers, body, vary, variant } = value as Partial<Record<keyof Captured, unknown>>;
  return (
    status === 200 &&
    Array.isArray(headers) &&
    headers.every(isHeader) &&
    body instanceof Uint8Array &&
    isTextList(vary) &&
    typeof variant === 'string'
  );
}

function isHeader(value: unknown): boolean {
  return (
    Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && (typeof value[1] === 'string' || isTextList(value[1]))
  );
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
