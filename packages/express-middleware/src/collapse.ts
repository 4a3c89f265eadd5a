import { AsyncResource } from 'node:async_hooks';

import { checkOptions, type Collapser, type LoadContext, objectWith } from '@oneflight/core';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

import { type Answer, type AnswerHead, isFor, LiveAnswer } from './answer.js';
import { answerCodec } from './answer-codec.js';
import { capture, type CaptureOptions, observe } from './capture.js';
import { errorFor, StepAsideError } from './errors.js';
import { HitForMiss } from './hit-for-miss.js';
import { hasCredentials, isAuthorized } from './identity.js';
import { requestKey, variantOf } from './key.js';
import { checkCollapseOptions, type CheckedOptions, type CollapseOptions } from './options.js';
import type { Verdict } from './recorder.js';
import { canBeAnsweredLive, replay, replayLive } from './replay.js';
import { ownBusinessOf, type UnshareableReason } from './shareable.js';
import { addCacheStatus, type CacheStatus } from './status-header.js';
import { type CollapseStats, type HttpBypassReason, Tally, type UnservedReason } from './tally.js';
import { isInsideHandler, Warnings } from './warnings.js';

/** A middleware that says what it did. */
export interface CollapseHandler {
  /**
   * What Express calls: a `RequestHandler`. It is generic so that the handlers after it keep the types that Express infers
   * from the route, `request.params` first of all.
   */
  <P, ResBody, ReqBody, Query, Locals extends Record<string, unknown>>(
    request: Request<P, ResBody, ReqBody, Query, Locals>,
    response: Response<ResBody, Locals>,
    next: NextFunction,
  ): void | Promise<void>;
  stats(): CollapseStats;
}

/**
 * Makes a middleware that runs what comes after it once for all equal requests that are under way at the same time, on all
 * replicas of the collapser. Mount it after everything that decides who may see what, and after anything that sets headers
 * of its own for each request (request id, CORS, compression, session, rate limit).
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION
 */
export function collapse(collapser: Collapser, options?: CollapseOptions): CollapseHandler;
// Two signatures: no function that reads a request's parameters can be written for all of them, as the type above says.
export function collapse(collapser: Collapser, options: CollapseOptions = {}): RequestHandler & Pick<CollapseHandler, 'stats'> {
  checkOptions('arguments', { collapser: collapser ?? null }, { collapser: objectWith('a collapser: createCollapser(…)', 'flight') });
  const site = new Site(collapser, checkCollapseOptions(options));
  return Object.assign(site.handler, { stats: () => site.stats() });
}

interface Exchange {
  readonly request: Request;
  readonly response: Response;
  readonly next: NextFunction;
}

/** What a request asks the collapser for. */
interface Flight {
  readonly key: string;
  /** The request headers that an answer varied on, as this request has them: it was not for this one. */
  readonly variant?: string | undefined;
  /** Instead of running the handler, where a request may only follow. */
  readonly lead?: (() => never) | undefined;
}

/**
 * Marks a request that a `collapse()` has in hand. A second one would wait for the first, which waits for its handler: for
 * ever. A property, because a WeakSet of all requests makes each garbage collection slow.
 */
const IN_HAND = Symbol('oneflight.collapse');

/** One `collapse()`: where it is mounted, what it remembers. */
class Site {
  readonly #collapser: Collapser;
  readonly #options: CheckedOptions;
  readonly #tally: Tally;
  readonly #warnings = new Warnings();
  readonly #missed = new HitForMiss();
  /** How many GET requests of a key wait or run here. */
  readonly #gets = new Map<string, number>();
  /** What Express calls. */
  readonly handler: RequestHandler = (request, response, next) => this.#handle({ request, response, next });

  constructor(collapser: Collapser, options: CheckedOptions) {
    this.#collapser = collapser;
    this.#options = options;
    this.#tally = new Tally(collapser.name);
    if (isInsideHandler()) this.#warnings.say('ONEFLIGHT_HTTP_CREATED_IN_HANDLER');
  }

  #handle(exchange: Exchange): void | Promise<void> {
    const { request, response, next } = exchange;
    if (response.headersSent) return next();
    const reason = this.#whyBypass(request);
    if (reason !== undefined) return this.#bypass(exchange, reason);
    if (this.#options.identity === 'ignore' && isAuthorized(request)) this.#warnings.say('ONEFLIGHT_HTTP_CREDENTIALS_IGNORED');
    const key = requestKey(request, this.#options, this.handler);
    Reflect.set(request, IN_HAND, true);
    if (this.#missed.has(key)) {
      observe(this.#captureOptions(exchange, key));
      return this.#bypass(exchange, 'hit_for_miss');
    }
    this.#tally.collapsed++;
    if (request.method === 'HEAD') {
      const getKey = requestKey(request, this.#options, this.handler, 'GET');
      if (this.#gets.has(getKey)) return this.#flight(exchange, { key: getKey, lead: stepAside });
    }
    return this.#flight(exchange, { key });
  }

  stats(): CollapseStats {
    const { collapsed, replayed, streamed, truncated, bypassed, unshareable, unserved, refused, capturing, capturedBytes } = this.#tally;
    return {
      ...{ collapsed, replayed, streamed, truncated, refused, capturing, capturedBytes },
      ...{ bypassed: { ...bypassed }, unshareable: { ...unshareable }, unserved: { ...unserved } },
      hitForMissKeys: this.#missed.size,
      getKeys: this.#gets.size,
    };
  }

  #whyBypass(request: Request): HttpBypassReason | undefined {
    const { methods, skip, identity } = this.#options;
    if (!methods.has(request.method)) return 'method';
    if (IN_HAND in request) return 'nested';
    if (skip?.(request) === true) return 'skip';
    return ownBusinessOf(request) ?? (identity === 'bypass' && hasCredentials(request) ? 'credentials' : undefined);
  }

  #bypass({ response, next }: Exchange, reason: HttpBypassReason): void {
    this.#tally.note({ type: 'bypass', reason });
    if (reason === 'nested') this.#warnings.say('ONEFLIGHT_HTTP_NESTED');
    else this.#tell(response, { how: 'bypass', reason });
    next();
  }

  /** Asks the collapser; the request is answered by its own handler, or by the answer to an equal one. */
  async #flight(exchange: Exchange, { key, variant, lead }: Flight): Promise<void> {
    const { request, response, next } = exchange;
    const leaves = new AbortController();
    const leave = (): void => {
      if (!response.writableFinished) leaves.abort(); // else its answer was complete: that is no reason to leave
    };
    response.once('close', leave);
    let handled = false;
    // Another request's load may start this one: whatever the application keeps in an AsyncLocalStorage must be its own.
    const ownContext = new AsyncResource('oneflight');
    const load = (context: LoadContext): Promise<Answer | null> => {
      lead?.();
      if (response.headersSent) throw new StepAsideError('this request was answered before its turn to load came');
      handled = true;
      const status: CacheStatus = { how: context.isAlone ? 'alone' : 'leader', varies: variant !== undefined };
      return capture(this.#captureOptions(exchange, key, status), context, leave, () => ownContext.runInAsyncScope(next));
    };
    const early = (offered: unknown): { readonly value: LiveAnswer } | undefined => {
      if (!(offered instanceof LiveAnswer) || response.headersSent) return undefined;
      if (isFor(request, offered.head)) {
        return canBeAnsweredLive(request, response, offered.head, this.#options.etag !== false) ? { value: offered } : undefined;
      }
      queueMicrotask(() => leaves.abort(offered.head)); // another variant: there is nothing to wait for
      return undefined;
    };
    const leaveGets = request.method === 'GET' ? this.#joinGets(key) : undefined;
    try {
      const flightKey = variant === undefined ? key : `${key} ${variant}`;
      const answer = await this.#collapser.run<Answer | LiveAnswer | null>(['http', flightKey], load, {
        ...this.#options.call,
        ...{ signal: leaves.signal, shareErrors: false, isolate: 'none', early, codec: this.#codec(flightKey) },
      });
      if (!handled) this.#answerWith(answer, exchange, { key, variant, lead });
    } catch (error) {
      if (handled) return;
      if (isHead(leaves.signal.reason)) this.#tryVariant(leaves.signal.reason, exchange, { key, variant, lead });
      else if (!leaves.signal.aborted) this.#answerWithout(error, exchange);
    } finally {
      leaveGets?.();
      response.off('close', leave);
    }
  }

  #answerWith(answer: Answer | LiveAnswer | null, exchange: Exchange, flight: Flight): void {
    const { request, response } = exchange;
    if (response.headersSent) return;
    if (answer === null) return this.#runAlone(exchange, 'error');
    const tell = (): void => this.#tell(response, { how: 'follower', varies: flight.variant !== undefined });
    if (answer instanceof LiveAnswer) {
      this.#tally.replayed++;
      this.#tally.streamed++;
      return replayLive(request, response, answer, tell, () => this.#tally.note({ type: 'truncated' }));
    }
    if (!isFor(request, answer)) return this.#tryVariant(answer, exchange, flight);
    this.#tally.replayed++;
    replay(request, response, answer, tell);
  }

  /** The answer is for requests of another variant: this one looks for those of its own. */
  #tryVariant({ vary }: AnswerHead, exchange: Exchange, { key, variant, lead }: Flight): void {
    const { request } = exchange;
    if (variant !== undefined || lead !== undefined) return this.#runAlone(exchange, 'vary');
    void this.#flight(exchange, { key, variant: variantOf(request, vary) });
  }

  /** No answer came: an error for the application only where running the handler is what must not happen. */
  #answerWithout(error: unknown, exchange: Exchange): void {
    if (exchange.response.headersSent) return;
    const failure = errorFor(error);
    if (failure !== undefined) return exchange.next(failure);
    this.#runAlone(exchange, isTimeout(error) ? 'timeout' : 'error');
  }

  #runAlone({ response, next }: Exchange, reason: UnservedReason): void {
    this.#tally.note({ type: 'unserved', reason });
    this.#tell(response, { how: 'unserved', reason });
    next();
  }

  #captureOptions({ request, response }: Exchange, key: string, status?: CacheStatus): CaptureOptions {
    return {
      ...{ request, response, options: this.#options, tally: this.#tally, warnings: this.#warnings },
      onVerdict: (verdict) => this.#learn(key, verdict),
      beforeHead: () => {
        if (status !== undefined) this.#tell(response, status);
      },
    };
  }

  #learn(key: string, verdict: Verdict): void {
    if (verdict.kind === 'shared') this.#missed.forget(key);
    if (verdict.kind === 'private' && !PASSING.has(verdict.reason)) this.#missed.remember(key);
  }

  #codec(key: string) {
    const { bodyBytesMax, headersBytesMax } = this.#options.limits;
    return answerCodec({ key, bodyBytesMax, headersBytesMax, onRefused: () => this.#tally.note({ type: 'refused' }) });
  }

  #joinGets(key: string): () => void {
    this.#gets.set(key, (this.#gets.get(key) ?? 0) + 1);
    return () => {
      const left = (this.#gets.get(key) ?? 1) - 1;
      if (left === 0) this.#gets.delete(key);
      else this.#gets.set(key, left);
    };
  }

  #tell(response: Response, status: CacheStatus): void {
    addCacheStatus(response, this.#options.statusName, status);
  }
}

/** These say something about the moment, and nothing about the next answer. */
const PASSING = new Set<UnshareableReason>(['busy', 'incomplete']);

/** A HEAD has no body to give to those who asked with GET. */
function stepAside(): never {
  throw new StepAsideError('a HEAD does not run for those who asked with GET');
}

/** Why a request left: the head of an answer to another variant. */
function isHead(reason: unknown): reason is AnswerHead {
  return typeof reason === 'object' && reason !== null && 'variant' in reason;
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_ONEFLIGHT_WAIT_TIMEOUT';
}
