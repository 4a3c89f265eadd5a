import type { Request, Response } from 'express';

import { type Answer, type AnswerHead, headersOf, type LiveAnswer } from './answer.js';
import { conditionsOf, isFresh, omitContent } from './conditions.js';

/**
 * Answers a request with another one's answer. Each caller's own condition (`If-None-Match`, `If-Modified-Since`) holds for
 * it alone, and what was set on its own response before stays.
 *
 * @param beforeHead Adds what only this caller is to see, after all else.
 */
export function replay(request: Request, response: Response, answer: Answer, beforeHead: () => void): void {
  if (isAnsweredByHead(request, response, answer, beforeHead)) return;
  if (request.method === 'HEAD') response.end();
  else response.end(answer.body);
}

/** What is told while an answer is passed on as it is made. */
interface LiveEvents {
  /** Adds what only this caller is to see, after all else. */
  readonly beforeHead: () => void;
  /** It broke off, or its caller was too slow for it: the connection is closed in its middle. */
  readonly onCut: () => void;
  /** Its caller went away before it had all of it. */
  readonly onLeft: () => void;
}

/** Answers a request with an answer that is still being made. */
export function replayLive(request: Request, response: Response, { head, body }: LiveAnswer, tell: LiveEvents): void {
  if (isAnsweredByHead(request, response, head, tell.beforeHead)) return;
  let isCut = false;
  const reader = body.read({
    write: (bytes) => !response.destroyed && response.write(bytes),
    flush: () => flushOf(response)?.(),
    end: () => response.end(),
    cut: () => {
      if (response.destroyed) return;
      isCut = true;
      tell.onCut();
      response.destroy();
    },
  });
  if (reader === undefined) return void response.destroy(); // nobody is told of an answer that is not whole any more
  response.flushHeaders();
  response.on('drain', () => reader.drained());
  response.once('close', () => {
    if (!isCut && !response.writableFinished) tell.onLeft();
    reader.leave();
  });
  reader.pump();
}

/** Whether a request can be answered before the answer is complete: not where only the whole of it tells what is right for it. */
export function canBeAnsweredLive(request: Request, response: Response, head: AnswerHead, makesTags: boolean): boolean {
  // Without chunks an answer that broke off looks like one that is complete.
  if (request.method === 'HEAD' || response.headersSent || !isAtLeastHttp11(request)) return false;
  const hasTag = response.hasHeader('etag') || head.headers.some(([name]) => name === 'etag');
  return conditionsOf(request.headers)?.noneMatch === undefined || hasTag || !makesTags || head.status !== 200;
}

/** What `compression()` adds to a response. */
export function flushOf(response: Response): (() => void) | undefined {
  const flush: unknown = Reflect.get(response, 'flush');
  return typeof flush === 'function' ? (): void => void Reflect.apply(flush, response, []) : undefined;
}

function isAtLeastHttp11({ httpVersionMajor, httpVersionMinor }: Request): boolean {
  return httpVersionMajor > 1 || httpVersionMinor >= 1;
}

/** Sets the head, and ends the response where that is all: the caller has the rest already. */
export function isAnsweredByHead(request: Request, response: Response, head: AnswerHead, beforeHead: () => void): boolean {
  for (const name of head.removed) response.removeHeader(name);
  const varied = response.getHeader('vary');
  for (const [name, value] of head.headers) response.setHeader(name, value);
  if (varied !== undefined) response.vary([varied].flat().join(', '));
  response.statusCode = head.status;
  if (head.message !== undefined) response.statusMessage = head.message;
  beforeHead();
  const conditions = head.status === 200 ? conditionsOf(request.headers) : undefined;
  if (conditions !== undefined && isFresh(conditions, headersOf(response))) {
    response.statusCode = 304;
    response.statusMessage = 'Not Modified';
    omitContent(response);
    response.end();
    return true;
  }
  if (head.length !== undefined && head.status !== 204) response.setHeader('Content-Length', head.length);
  return false;
}
