import type { OutgoingHttpHeader, OutgoingHttpHeaders } from 'node:http';

import type { LoadContext } from '@oneflight/core';
import type { Request, Response } from 'express';

import { variantOf } from './key.js';
import { type Head, mayShare, varyOf } from './shareable.js';

/** An answer in the form that travels: what the handler made of it, nothing of what was on the response before. */
export interface Captured {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string | readonly string[]])[];
  readonly body: Uint8Array;
  /** Names of the request headers that the answer depends on, and a hash of the leader's values of them. */
  readonly vary: readonly string[];
  readonly variant: string;
}

/** An answer that only its own caller may have. */
const PRIVATE_ANSWER = null;

export interface CaptureOptions {
  readonly request: Request;
  readonly response: Response;
  readonly context: Pick<LoadContext, 'unshareable'>;
  readonly bodyBytesMax: number;
}

/**
 * Lets `handle` answer its own caller, and resolves with a copy for the others once the answer is complete. Whether there
 * may be a copy is decided as soon as the head is known: if not, the others are let go at that moment.
 *
 * @throws Error when the answer was cut off
 */
export function capture(options: CaptureOptions, handle: () => void): Promise<Captured | null> {
  return new Promise((resolve, reject) => {
    const recorder = new Recorder(options, () => resolve(PRIVATE_ANSWER));
    intercept(options.response, recorder, () => resolve(recorder.result()), reject);
    handle();
  });
}

/** Keeps what an answer consists of, for as long as it may be shared. */
class Recorder {
  readonly #options: CaptureOptions;
  readonly #onPrivate: () => void;
  readonly #before: ReadonlyMap<string, unknown>;
  readonly #chunks: Buffer[] = [];
  #bodyBytes = 0;
  #head: Head | undefined;
  #shared = true;

  constructor(options: CaptureOptions, onPrivate: () => void) {
    this.#options = options;
    this.#onPrivate = onPrivate;
    this.#before = new Map(Object.entries(options.response.getHeaders()).map(([name, value]) => [name, JSON.stringify(value)]));
  }

  get isShared(): boolean {
    return this.#shared;
  }

  addHead(): void {
    if (this.#head !== undefined) return;
    const { statusCode: status } = this.#options.response;
    const headers = new Map(Object.entries(this.#options.response.getHeaders()).map(([name, value]) => [name, asText(value)]));
    this.#head = { status, headers };
    if (!mayShare(this.#head)) this.#giveUp();
  }

  addBody(chunk: unknown, encoding: unknown): void {
    const bytes = asBytes(chunk, encoding);
    if (bytes === undefined || !this.#shared) return;
    this.#bodyBytes += bytes.length;
    if (this.#bodyBytes > this.#options.bodyBytesMax) return this.#giveUp();
    this.#chunks.push(bytes);
  }

  result(): Captured | null {
    if (!this.#shared || this.#head === undefined) return PRIVATE_ANSWER;
    const vary = varyOf(this.#head.headers);
    return {
      status: this.#head.status,
      headers: [...this.#head.headers].filter(([name, value]) => this.#isOfHandler(name, value)),
      body: Buffer.concat(this.#chunks),
      vary,
      variant: variantOf(this.#options.request, vary),
    };
  }

  /** What was set before `collapse()` ran (CORS, request id, …) belongs to each response; each follower has its own. */
  #isOfHandler(name: string, value: string | readonly string[]): boolean {
    const before = this.#before.get(name);
    return !OWN_HEADERS.has(name) && (before === undefined || (before !== JSON.stringify(value) && before !== JSON.stringify([value])));
  }

  #giveUp(): void {
    this.#shared = false;
    this.#chunks.length = 0;
    this.#options.context.unshareable();
    this.#onPrivate(); // nobody waits for the rest, which may be a stream without an end
  }
}

/** Of one connection, one moment, or one request. */
const OWN_HEADERS = new Set([
  ...['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'proxy-authenticate', 'te', 'content-length', 'date'],
  ...['x-request-id', 'x-correlation-id', 'traceparent', 'tracestate', 'server-timing', 'ratelimit', 'ratelimit-policy'],
]);

function asText(value: OutgoingHttpHeader | undefined): string | readonly string[] {
  return Array.isArray(value) ? value.map(String) : String(value ?? '');
}

function asBytes(chunk: unknown, encoding: unknown): Buffer | undefined {
  if (typeof chunk === 'string') return Buffer.from(chunk, typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8');
  // A copy: the handler may fill the same buffer again.
  return chunk instanceof Uint8Array ? Buffer.from(chunk) : undefined;
}

/**
 * Stands between the handler and the response. Everything is passed on as it comes, so the leader's own caller gets
 * exactly what it would get without this.
 */
function intercept(response: Response, recorder: Recorder, onEnd: () => void, onCut: (error: Error) => void): void {
  const { writeHead, write, end, destroy } = response;
  response.writeHead = (status: number, ...rest: unknown[]) => {
    const statusMessage = typeof rest[0] === 'string' ? rest[0] : undefined;
    setHeaders(response, statusMessage === undefined ? rest[0] : rest[1]);
    response.statusCode = status;
    recorder.addHead();
    Reflect.apply(writeHead, response, statusMessage === undefined ? [status] : [status, statusMessage]);
    return response;
  };
  response.write = (...args: unknown[]) => {
    const hasRoom: unknown = Reflect.apply(write, response, args);
    recorder.addBody(args[0], args[1]);
    return hasRoom === true || recorder.isShared; // bounded by bodyBytesMax; a leader's caller who reads slowly holds up nobody else
  };
  response.end = (...args: unknown[]) => {
    recorder.addBody(args[0], args[1]);
    Reflect.apply(end, response, args);
    recorder.addHead(); // Node leaves the head unwritten when the connection is gone
    onEnd();
    return response;
  };
  response.destroy = (error?: Error) => {
    onCut(error ?? new Error('the handler destroyed its response'));
    return Reflect.apply(destroy, response, [error]);
  };
  // A caller who leaves before the head is no reason to give up; one who leaves later stops whatever is piped to it.
  response.once('close', () => response.headersSent && onCut(new Error('the connection closed in the middle of the answer')));
}

/** `writeHead` may send headers that `getHeaders` never shows; setting them first leaves one place to look at. */
function setHeaders(response: Response, headers: unknown): void {
  if (Array.isArray(headers)) return setHeaderList(response, headers.flat());
  if (typeof headers !== 'object' || headers === null) return;
  for (const [name, value] of Object.entries<OutgoingHttpHeaders[string]>({ ...headers })) {
    if (value !== undefined) response.setHeader(name, value);
  }
}

function setHeaderList(response: Response, list: readonly unknown[]): void {
  for (let index = 0; index < list.length; index += 2) response.removeHeader(String(list[index]));
  for (let index = 0; index < list.length; index += 2) response.appendHeader(String(list[index]), String(list[index + 1]));
}
