import type { Request, Response } from 'express';

import type { Answer } from './answer.js';
import { conditionsOf, isFresh, omitContent } from './conditions.js';
import { headersOf } from './answer.js';

/**
 * Answers a request with another one's answer. Each caller's own condition (`If-None-Match`, `If-Modified-Since`) holds for
 * it alone, and what was set on its own response before stays.
 *
 * @param beforeHead Adds what only this caller is to see, after all else.
 */
export function replay(request: Request, response: Response, answer: Answer, beforeHead: () => void): void {
  for (const name of answer.removed) response.removeHeader(name);
  const varied = response.getHeader('vary');
  for (const [name, value] of answer.headers) response.setHeader(name, value);
  if (varied !== undefined) response.vary([varied].flat().join(', '));
  response.statusCode = answer.status;
  if (answer.message !== undefined) response.statusMessage = answer.message;
  beforeHead();
  const conditions = answer.status === 200 ? conditionsOf(request.headers) : undefined;
  if (conditions !== undefined && isFresh(conditions, headersOf(response))) {
    response.statusCode = 304;
    response.statusMessage = 'Not Modified';
    omitContent(response);
    response.end();
    return;
  }
  if (answer.length !== undefined && answer.status !== 204) response.setHeader('Content-Length', answer.length);
  if (request.method === 'HEAD') response.end();
  else response.end(answer.body);
}
