import type { Request, Response } from 'express';

import { type Answer, type HeaderMap, headersOf } from '../answer.js';
import { setHeaders } from '../intercept.js';

/** What is stored and has to be asked about, and what becomes of it. */
export interface Revalidation {
  readonly previous: Answer;
  /** Whether it may be given where the handler fails. */
  readonly mayServeOnError: () => boolean;
  /** How old it is now. */
  readonly ageMs: () => number;
  /** Told before the answer goes out that the stored one does, and which status the handler gave. */
  readonly onTaken: (how: 'validated' | 'failed', status: number) => void;
}

/** Asks the handler whether the stored answer still holds: it sees the validators as if its caller had sent them (RFC 9111 section 4.3.1). */
export function askIfChanged(request: Request, { previous }: Revalidation): void {
  const header = (name: string): string | undefined => {
    const value = previous.headers.find(([found]) => found === name)?.[1];
    return typeof value === 'string' ? value : undefined;
  };
  const [etag, modified] = [header('etag'), header('last-modified')];
  if (etag !== undefined) request.headers['if-none-match'] = etag;
  if (modified !== undefined) request.headers['if-modified-since'] = modified;
}

/**
 * Stands before the interception: a 304 of the handler becomes the stored answer with the headers that the 304 brought, and
 * so reaches its caller and all others as any answer does; a server error becomes the stored answer where that is allowed.
 * What the handler writes after that is for nobody.
 */
export function substitute(response: Response, revalidation: Revalidation): void {
  const { writeHead, write, end, flushHeaders } = response;
  const before = headersOf(response);
  let state: 'open' | 'own' | 'taken' = 'open';
  const isTaken = (status: number): boolean => {
    if (state !== 'open' || response.headersSent) return state === 'taken';
    const how = howTaken(status, revalidation);
    state = how === undefined ? 'own' : 'taken';
    if (how === undefined) return false;
    revalidation.onTaken(how, status);
    if (how === 'validated') freshen(response, revalidation.previous, before);
    else replace(response, revalidation, before);
    response.writeHead = writeHead;
    Reflect.apply(end, response, [revalidation.previous.body]);
    response.writeHead = () => response;
    return true;
  };
  response.writeHead = (status: number, ...rest: unknown[]) => {
    if (state === 'open' && howTaken(status, revalidation) !== undefined)
      setHeaders(response, typeof rest[0] === 'string' ? rest[1] : rest[0]);
    if (!isTaken(status)) Reflect.apply(writeHead, response, [status, ...rest]);
    return response;
  };
  response.write = (...args: unknown[]) => {
    if (!isTaken(response.statusCode)) return Reflect.apply(write, response, args) === true;
    callBack(args);
    return true;
  };
  response.end = (...args: unknown[]) => {
    if (isTaken(response.statusCode)) callBack(args);
    else Reflect.apply(end, response, args);
    return response;
  };
  response.flushHeaders = () => {
    if (!isTaken(response.statusCode)) Reflect.apply(flushHeaders, response, []);
  };
}

function howTaken(status: number, { mayServeOnError }: Revalidation): 'validated' | 'failed' | undefined {
  if (status === 304) return 'validated';
  return FAILURES.has(status) && mayServeOnError() ? 'failed' : undefined;
}

/** RFC 5861 section 4. */
const FAILURES = new Set([500, 502, 503, 504]);

/** RFC 9111 section 3.2: all that the 304 says is new, but what describes the stored body. */
function freshen(response: Response, previous: Answer, before: HeaderMap): void {
  const brought = headersOf(response);
  const isBrought = (name: string): boolean => brought.has(name) && String(brought.get(name)) !== String(before.get(name) ?? '');
  for (const [name, value] of previous.headers) {
    if (name !== 'date' && (OF_THE_BODY.has(name) || !isBrought(name))) response.setHeader(name, value);
  }
  setStatus(response, previous);
}

function replace(response: Response, { previous, ageMs }: Revalidation, before: HeaderMap): void {
  for (const name of response.getHeaderNames()) if (!before.has(name)) response.removeHeader(name);
  for (const [name, value] of before) response.setHeader(name, value);
  for (const [name, value] of previous.headers) response.setHeader(name, value);
  response.setHeader('Age', Math.floor(ageMs() / 1_000));
  setStatus(response, previous);
}

function setStatus(response: Response, { status, message, removed, body }: Answer): void {
  for (const name of removed) response.removeHeader(name);
  response.removeHeader('transfer-encoding');
  response.setHeader('Content-Length', body.byteLength);
  response.statusCode = status;
  if (message === undefined) Reflect.deleteProperty(response, 'statusMessage');
  else response.statusMessage = message;
}

const OF_THE_BODY = new Set(['content-type', 'content-encoding', 'content-language', 'content-range', 'content-length']);

function callBack(args: readonly unknown[]): void {
  const callback = args.find((arg): arg is () => void => typeof arg === 'function');
  if (callback !== undefined) process.nextTick(callback);
}
