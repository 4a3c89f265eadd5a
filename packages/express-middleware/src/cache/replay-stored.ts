import type { Request, Response } from 'express';

import { type Answer, headersOf } from '../answer.js';
import { isAnsweredByHead, replay } from '../replay.js';
import { isSameAnswer, partOf } from './range.js';

/**
 * Answers a request from the store: as another one's answer is given, but also in parts (RFC 9110 section 14).
 *
 * @param beforeHead Adds what only this caller is to see, after all else.
 */
export function replayStored(request: Request, response: Response, answer: Answer, beforeHead: () => void): void {
  const { range, 'if-range': ifRange } = request.headers;
  if (request.method !== 'GET' || range === undefined || answer.status !== 200) return replay(request, response, answer, beforeHead);
  if (isAnsweredByHead(request, response, answer, beforeHead)) return;
  const part = isSameAnswer(singleText(ifRange), headersOf(response)) ? partOf(range, answer.body.byteLength) : 'whole';
  if (part === 'whole') return void response.end(answer.body);
  if (part === 'none') return refusePart(response, answer);
  response.statusCode = 206;
  response.statusMessage = 'Partial Content';
  response.setHeader('Content-Range', `bytes ${part.first}-${part.last}/${answer.body.byteLength}`);
  response.setHeader('Content-Length', part.last - part.first + 1);
  response.end(answer.body.subarray(part.first, part.last + 1));
}

function refusePart(response: Response, { body }: Answer): void {
  response.statusCode = 416;
  response.statusMessage = 'Range Not Satisfiable';
  for (const name of response.getHeaderNames()) if (name.startsWith('content-') || OF_THE_WHOLE.has(name)) response.removeHeader(name);
  response.setHeader('Content-Range', `bytes */${body.byteLength}`);
  response.setHeader('Content-Length', 0);
  response.end();
}

/** What says something about the answer that the caller does not get. */
const OF_THE_WHOLE = new Set(['etag', 'last-modified', 'cache-control', 'expires', 'age']);

function singleText(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
