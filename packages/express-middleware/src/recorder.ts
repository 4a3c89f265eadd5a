import type { Request, Response } from 'express';

import {
  type Answer,
  type AnswerHead,
  type AnswerHeader,
  dependenciesOf,
  headerBytes,
  headersOf,
  LiveAnswer,
  removedHeaders,
  sharedHeaders,
} from './answer.js';
import { Body } from './body.js';
import type { Keeping } from './cache/keeping.js';
import { entityTag } from './conditions.js';
import { CutAnswerError, FailedAnswerError } from './errors.js';
import { hasCredentials, isAuthorized } from './identity.js';
import { variantOf } from './key.js';
import type { CheckedOptions } from './options.js';
import { type Head, isForAll, type UnshareableReason, whyUnshareable } from './shareable.js';
import type { Tally } from './tally.js';
import type { Warnings } from './warnings.js';

/** How watching an answer ends; each recorder tells exactly one of these, once. */
export type Verdict =
  /** Complete, and everybody with this key may have it. `answer` is undefined where nothing was kept. */
  | { readonly kind: 'shared'; readonly answer: Answer | undefined }
  /** Its own caller's alone; known as soon as the head says so. */
  | { readonly kind: 'private'; readonly reason: UnshareableReason }
  /** Broken off, or a server error: somebody else may do better. */
  | { readonly kind: 'failed'; readonly error: Error }
  /** Nobody waits for it any more. */
  | { readonly kind: 'dropped' };

export interface RecorderOptions {
  readonly request: Request;
  readonly response: Response;
  readonly options: CheckedOptions;
  readonly tally: Tally;
  readonly warnings: Warnings;
  /** Whether to keep a copy; without, it only finds out whether the answer could be shared. */
  readonly keeps: boolean;
  readonly onVerdict: (verdict: Verdict) => void;
  /** Where answers may be kept for later requests. */
  readonly keeping?: Keeping | undefined;
  /** The head is known, others may have the answer, and its body is not complete yet. */
  readonly onLive?: (answer: LiveAnswer) => void;
  /** Nobody follows it any more, or all who did have it. */
  readonly onAlone?: () => void;
}

/** Watches what an answer consists of, and keeps it for as long as it may be shared. */
export class Recorder {
  readonly #given: RecorderOptions;
  readonly #before: ReadonlyMap<string, string | readonly string[]>;
  readonly #hadFlush: boolean;
  #body: Body;
  #bodyBytes = 0;
  #head: (Head & { readonly message: string | undefined }) | undefined;
  #isOpen = true;
  #isEnding = false;
  /** What the option `share` said: it is asked once for an answer. */
  #isRefused: boolean | undefined;

  constructor(given: RecorderOptions) {
    this.#given = given;
    this.#before = headersOf(given.response);
    this.#hadFlush = 'flush' in given.response;
    this.#body = this.#newBody();
    if (given.keeps) given.tally.capturing++;
  }

  /** Whether others may still get this answer. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Whether a copy is being made, which a slow caller must not slow down. */
  get isKeeping(): boolean {
    return this.#isOpen && this.#given.keeps;
  }

  /** Whether others here get the body as it is made. */
  get isFollowed(): boolean {
    return this.#body.isFollowed;
  }

  /** The body as it is made: its own caller too gets it from there once it is too large to be kept whole. */
  get body(): Body {
    return this.#body;
  }

  /** The head is about to be sent: decides whether others may have the answer, and adds what they and its caller are to see. */
  seeHead(status: number, message: string | undefined): void {
    if (!this.#isOpen || this.#head !== undefined) return;
    const head = { status, headers: headersOf(this.#given.response) };
    if (status >= 500) return this.fail(new FailedAnswerError(status));
    // Conditions are hidden only while copying: where they are not, a 304 tells nothing about the answer behind it.
    if (status === 304 && !this.#given.keeps) return this.drop();
    const reason = this.#whyNotShared(head);
    if (reason !== undefined) return this.giveUp(reason);
    this.#warnAbout(head);
    this.#addCacheControl(head);
    this.#head = { ...head, message };
    if (headerBytes(this.#sharedHeaders()) > this.#given.options.limits.headersBytesMax) return this.giveUp('headers_too_large');
    this.#given.keeping?.seeHead(head);
    const isBegun = !this.#isEnding && this.#given.request.method !== 'HEAD' && status !== 204;
    if (isBegun && this.#given.onLive !== undefined) setImmediate(() => this.#goLive(head));
  }

  /** An answer that is complete by then, as most are, is given to all as a whole: with its length and a validator. */
  #goLive(head: Head): void {
    if (this.isKeeping && this.#head?.headers === head.headers) {
      this.#given.onLive?.(new LiveAnswer({ ...this.#answerHead(this.#head), length: lengthOf(head) }, this.#body));
    }
  }

  /** The head was not sent after all: what follows is another answer. */
  forgetHead(): void {
    this.#head = undefined;
    this.#given.keeping?.forgetHead();
    this.#isRefused = undefined;
    this.#bodyBytes = 0;
    this.#body.cut();
    this.#body = this.#newBody();
  }

  /** Returns whether the caller whose handler runs gets these bytes from the body, as the others do. */
  addBody(chunk: unknown, encoding: unknown): boolean {
    if ((!this.#isOpen && !this.isFollowed) || this.#given.request.method === 'HEAD') return false;
    const bytes = asBytes(chunk, encoding);
    if (bytes === undefined) return false;
    const { options, keeps } = this.#given;
    this.#bodyBytes += bytes.byteLength;
    if (this.isFollowed && this.#isLongerThanSaid()) {
      this.giveUp('incomplete');
      this.#body.cut();
    }
    if (this.#bodyBytes > options.limits.bodyBytesMax) this.giveUp('too_large');
    if (!keeps || (!this.#isOpen && !this.isFollowed)) return false;
    const { isOwned } = this.#body;
    // A copy: the handler may fill the same buffer again.
    if (this.#body.add(typeof chunk === 'string' ? bytes : Buffer.from(bytes))) this.giveUp('busy');
    return isOwned;
  }

  /** The body is complete: if the head is not yet sent, a validator can be made for its own caller too. */
  seeEnd(): void {
    this.#isEnding = true;
    const { response, request, options } = this.#given;
    if (!this.isKeeping || this.#head !== undefined || options.etag === false || response.headersSent) return;
    if (response.statusCode !== 200 || request.method === 'HEAD' || response.hasHeader('etag')) return;
    if (this.#whyNotShared({ status: 200, headers: headersOf(response) }) !== undefined) return;
    response.setHeader('ETag', entityTag(this.#body.whole(), options.etag));
  }

  /** The answer is complete. */
  finish(): void {
    if (!this.#isOpen) return this.#finishBody();
    if (this.#head === undefined) this.seeHead(this.#given.response.statusCode, undefined);
    if (!this.#isOpen || this.#head === undefined) return;
    if (this.#isIncomplete(this.#head)) return this.giveUp('incomplete');
    this.#close({ kind: 'shared', answer: this.#given.keeps ? this.#answer(this.#head) : undefined });
    this.#body.end();
  }

  /** Those who got it as it was made have it all, if it is as long as its head said. */
  #finishBody(): void {
    if (this.#head !== undefined && this.#isIncomplete(this.#head)) this.#body.cut();
    else this.#body.end();
  }

  /** Others cannot have it, and need not wait for the rest, which may be a stream without an end. */
  giveUp(reason: UnshareableReason): void {
    if (!this.#isOpen) return;
    this.#given.tally.note({ type: 'unshareable', reason });
    this.#close({ kind: 'private', reason });
    // Who has begun to get it cannot turn to another answer; it goes on where the answer itself is right.
    if (reason === 'incomplete' || !this.isFollowed) this.#body.cut();
    else this.#body.narrow();
  }

  /** Nobody ever gets a part of it. */
  fail(error: Error): void {
    if (this.#isOpen) this.#close({ kind: 'failed', error });
    this.#body.cut();
  }

  /** Those who wait may do better without it; who has a part of it waits on for the rest. */
  abandon(what: string): void {
    if (this.#isOpen) this.#close({ kind: 'failed', error: new CutAnswerError(what) });
    this.#body.narrow();
  }

  cut(what: string, cause?: unknown): void {
    this.fail(new CutAnswerError(what, { cause }));
  }

  /** Nobody waits for it any more. */
  drop(): void {
    if (this.#isOpen) this.#close({ kind: 'dropped' });
    this.#body.cut();
  }

  #close(verdict: Verdict): void {
    this.#isOpen = false;
    if (this.#given.keeps) this.#given.tally.capturing--;
    this.#given.onVerdict(verdict);
  }

  #newBody(): Body {
    const { tally, options, onAlone } = this.#given;
    return new Body({
      bytesMax: options.limits.bodyBytesMax,
      onHeld: (difference) => {
        tally.capturedBytes += difference;
        return tally.capturedBytes > options.limits.capturedBytesMax;
      },
      onAlone: () => onAlone?.(),
    });
  }

  #whyNotShared(head: Head): UnshareableReason | undefined {
    const { request, options } = this.#given;
    const reason = whyUnshareable(head);
    if (reason !== undefined) return reason;
    if (options.identity === 'ignore' && isAuthorized(request) && !isForAll(head)) return 'credentials';
    if (request.method !== 'HEAD' && Number(head.headers.get('content-length') ?? 0) > options.limits.bodyBytesMax) return 'too_large';
    this.#isRefused ??= this.#isRefusedByOption(head);
    return this.#isRefused ? 'share' : undefined;
  }

  #isRefusedByOption(head: Head): boolean {
    const { options, request, warnings } = this.#given;
    if (options.share === undefined) return false;
    try {
      return !options.share(request, head);
    } catch {
      warnings.say('ONEFLIGHT_HTTP_SHARE_FAILED');
      return true;
    }
  }

  /** Caches behind this one do not have the credentials in their key, so they are told nothing about a personal answer. */
  #addCacheControl({ headers }: { readonly headers: Map<string, string | readonly string[]> }): void {
    const { options, request, response } = this.#given;
    if (options.cacheControl === undefined || headers.has('cache-control')) return;
    if (options.identity === 'ignore' || (options.identity === 'key' && !hasCredentials(request))) {
      response.setHeader('Cache-Control', options.cacheControl);
      headers.set('cache-control', options.cacheControl);
    }
  }

  #warnAbout({ headers }: Head): void {
    const { warnings, response } = this.#given;
    if (headers.has('content-encoding') && !this.#hadFlush && 'flush' in response) warnings.say('ONEFLIGHT_HTTP_COMPRESSION_INSIDE');
    const isLimited = (name: string): boolean => name.startsWith('ratelimit') || name.startsWith('x-ratelimit');
    if ([...headers.keys()].some((name) => isLimited(name) && !this.#before.has(name))) warnings.say('ONEFLIGHT_HTTP_RATE_LIMIT_INSIDE');
  }

  /** A body that is not as long as its own head says was broken off somewhere (RFC 9112 section 8). */
  #isIncomplete({ headers, status }: Head): boolean {
    const said = headers.get('content-length');
    if (said === undefined || this.#given.request.method === 'HEAD' || status === 204) return false;
    return Number(said) !== this.#bodyBytes;
  }

  /** Nobody gets bytes that the head, which they have, says are not there. */
  #isLongerThanSaid(): boolean {
    const said = this.#head === undefined ? undefined : lengthOf(this.#head);
    return said !== undefined && this.#bodyBytes > said;
  }

  #answer(head: Head & { readonly message: string | undefined }): Answer {
    const { request, options } = this.#given;
    const body = head.status === 204 ? Buffer.alloc(0) : this.#body.whole();
    const known = this.#answerHead(head);
    const needsTag = options.etag !== false && head.status === 200 && request.method !== 'HEAD' && !head.headers.has('etag');
    const headers: readonly AnswerHeader[] = needsTag ? [...known.headers, ['etag', entityTag(body, options.etag)]] : known.headers;
    const answer = { ...known, headers, body, length: request.method === 'HEAD' ? lengthOf(head) : body.byteLength };
    return this.#given.keeping?.mark(answer) ?? answer;
  }

  #answerHead(head: Head & { readonly message: string | undefined }): Omit<AnswerHead, 'length'> {
    const vary = dependenciesOf(head, this.#before);
    return {
      status: head.status,
      message: head.message,
      headers: this.#sharedHeaders(),
      removed: removedHeaders(this.#before, head.headers),
      vary,
      variant: variantOf(this.#given.request, vary),
    };
  }

  #sharedHeaders() {
    return this.#head === undefined ? [] : sharedHeaders(this.#before, this.#head.headers);
  }
}

function lengthOf({ headers }: Head): number | undefined {
  const said = headers.get('content-length');
  return typeof said === 'string' && /^\d{1,15}$/.test(said) ? Number(said) : undefined;
}

function asBytes(chunk: unknown, encoding: unknown): Buffer | undefined {
  if (typeof chunk === 'string') return Buffer.from(chunk, typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8');
  return chunk instanceof Uint8Array ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : undefined;
}
