import type { Request, Response } from 'express';

import { digest } from '../digest.js';
import { hostOf, ownKeyOf } from '../key.js';
import type { CheckedOptions } from '../options.js';

/** Whether a request may change what is stored; a method that nobody here knows may (RFC 9111 section 4.4). */
export function mayChange({ method }: Request): boolean {
  return !SAFE.has(method);
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH']);

/**
 * Removes what a change has made old before its caller is told that it is done: what was asked to change, and what the
 * answer's `Location` and `Content-Location` name at the same origin. An answer that says it failed changes nothing.
 *
 * @param invalidate Never rejects.
 */
export function watchChange(
  request: Request,
  response: Response,
  options: CheckedOptions,
  invalidate: (tags: readonly string[]) => Promise<void>,
): void {
  const { end } = response;
  response.end = (...args: unknown[]) => {
    if (response.statusCode >= 400 || response.destroyed || response.writableEnded) Reflect.apply(end, response, args);
    else hold(args);
    return response;
  };
  /** From here on the answer is fixed, as if it had gone out: what a handler does after its end changes nothing. */
  function hold(args: readonly unknown[]): void {
    const { write } = response;
    if (!response.headersSent) fixHead(response, args[0], args[1]);
    response.end = () => response;
    response.write = () => false;
    void invalidate([...new Set([...tagsOf(request, options), ...namedBy(request, response)])]).then(() => {
      response.write = write;
      response.end = end;
      Reflect.apply(end, response, [...args]);
    });
  }
}

/** With the length that Node would have given it. */
function fixHead(response: Response, chunk: unknown, encoding: unknown): void {
  const hasLength = response.hasHeader('content-length') || response.hasHeader('transfer-encoding');
  if (!hasLength && response.statusCode !== 204 && response.statusCode !== 304) {
    const isText = typeof chunk === 'string';
    const charset = typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8';
    response.setHeader('Content-Length', isText ? Buffer.byteLength(chunk, charset) : chunk instanceof Uint8Array ? chunk.byteLength : 0);
  }
  response.writeHead(response.statusCode);
}

/** What a stored answer to this request is found by when something changes. */
export function tagsOf(request: Request, options: CheckedOptions): readonly string[] {
  const own = ownKeyOf(request, options);
  const uri = tagOf(originOf(request), pathOf(request.originalUrl));
  return own === undefined ? [uri] : [uri, `http key ${own}`];
}

function namedBy(request: Request, response: Response): readonly string[] {
  const origin = originOf(request);
  return [response.getHeader('location'), response.getHeader('content-location')].flatMap((value) => {
    if (typeof value !== 'string' || !URL.canParse(value, origin + request.originalUrl)) return [];
    const url = new URL(value, origin + request.originalUrl);
    return url.origin === origin ? [tagOf(origin, url.pathname + url.search)] : [];
  });
}

function originOf(request: Request): string {
  const origin = `${request.protocol}://${hostOf(request)}`;
  return URL.canParse(origin) ? new URL(origin).origin : origin;
}

/** In the form that a `Location` gets when it is resolved. */
function pathOf(originalUrl: string): string {
  const whole = `http://host${originalUrl}`;
  if (!originalUrl.startsWith('/') || !URL.canParse(whole)) return originalUrl;
  const url = new URL(whole);
  return url.pathname + url.search;
}

function tagOf(origin: string, path: string): string {
  return `http uri ${digest([origin, path])}`;
}
