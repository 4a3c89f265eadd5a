import type { OutgoingHttpHeaders } from 'node:http';

import type { Response } from 'express';

import { headersOf } from './answer.js';
import { type Conditions, isFresh, omitContent } from './conditions.js';
import type { Recorder } from './recorder.js';
import type { Shield } from './shield.js';
import { flushOf } from './replay.js';
import { SharedWriter } from './shared-writer.js';

export interface Interception {
  readonly response: Response;
  readonly recorder: Recorder;
  /** Absent where nobody depends on the answer but its own caller. */
  readonly shield: Shield | undefined;
  /** What the caller has already, where the handler was not told. */
  readonly conditions: Conditions | undefined;
  /** Adds what only this caller is to see, at the last moment. */
  readonly beforeHead: () => void;
}

/**
 * Stands between the handler and the response. All is passed on as it comes, so the caller gets what it would get without
 * this, but a 304 where it has the answer already.
 */
export function intercept(interception: Interception): void {
  interceptHead(interception);
  interceptBody(interception);
  interceptEnd(interception);
}

function interceptHead({ response, recorder, conditions, beforeHead }: Interception): void {
  const { writeHead } = response;
  response.writeHead = (status: number, ...rest: unknown[]) => {
    if (response.headersSent) {
      Reflect.apply(writeHead, response, [status, ...rest]); // throws what Node throws
      return response;
    }
    const hasMessage = typeof rest[0] === 'string';
    setHeaders(response, hasMessage ? rest[1] : (rest[1] ?? rest[0]));
    const message = hasMessage ? String(rest[0]) : textOrNothing(response.statusMessage);
    recorder.seeHead(status, message);
    beforeHead();
    const isKnown = status === 200 && conditions !== undefined && isFresh(conditions, headersOf(response));
    if (isKnown) omitContent(response);
    try {
      Reflect.apply(writeHead, response, isKnown ? [304, 'Not Modified'] : message === undefined ? [status] : [status, message]);
    } catch (error) {
      recorder.forgetHead();
      throw error;
    }
    return response;
  };
}

function interceptBody({ response, recorder, shield }: Interception): void {
  const { write, addTrailers } = response;
  const writer = shield === undefined ? undefined : new SharedWriter(response, recorder, shield);
  response.write = (...args: unknown[]) => {
    if (writer !== undefined && (recorder.isKeeping || recorder.isFollowed)) return writer.write(args);
    const hasRoom: unknown = Reflect.apply(write, response, args);
    recorder.addBody(args[0], args[1]);
    return hasRoom === true;
  };
  const flush = flushOf(response);
  if (flush !== undefined) {
    Object.assign(response, {
      flush() {
        flush();
        recorder.body.flush();
      },
    });
  }
  response.addTrailers = (trailers) => {
    recorder.giveUp('trailer');
    Reflect.apply(addTrailers, response, [trailers]);
  };
}

function interceptEnd({ response, recorder, shield }: Interception): void {
  const { end, destroy } = response;
  response.end = (...args: unknown[]) => {
    let isPassedOn = false;
    if (!response.writableEnded) {
      isPassedOn = recorder.addBody(args[0], args[1]);
      recorder.seeEnd();
      if (shield?.isHolding === true && !response.headersSent) response.writeHead(response.statusCode);
      recorder.body.flushOwner();
      shield?.beforeEnd();
    }
    Reflect.apply(end, response, isPassedOn ? args.filter((arg) => typeof arg === 'function') : args);
    recorder.finish();
    return response;
  };
  response.destroy = (error?: Error) => {
    recorder.cut('the handler destroyed its response', error);
    Reflect.apply(destroy, response, [error]);
    return response;
  };
}

/** `writeHead` may send headers that `getHeaders` never shows; setting them first leaves one place to look at. */
export function setHeaders(response: Response, headers: unknown): void {
  if (Array.isArray(headers)) return setHeaderList(response, headers);
  if (typeof headers !== 'object' || headers === null) return;
  for (const [name, value] of Object.entries<OutgoingHttpHeaders[string]>({ ...headers })) {
    if (value !== undefined) response.setHeader(name, value);
  }
}

/** Either one flat list of names and values, or a list of pairs, as Node takes them. */
function setHeaderList(response: Response, list: readonly unknown[]): void {
  const pairs: (readonly unknown[])[] = [];
  if (Array.isArray(list[0])) pairs.push(...list.filter((pair): pair is readonly unknown[] => Array.isArray(pair)));
  else for (let index = 0; index < list.length; index += 2) pairs.push([list[index], list[index + 1]]);
  for (const [name] of pairs) response.removeHeader(String(name));
  for (const [name, value] of pairs) response.appendHeader(String(name), Array.isArray(value) ? value.map(String) : String(value));
}

function textOrNothing(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
