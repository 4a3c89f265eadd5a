import { AsyncResource } from 'node:async_hooks';

import { type Collapser, describe, type FlightResult, type LoadContext, misuse, objectWith } from '@oneflight/core';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

import { type Answer, type AnswerHead, type HeaderMap, headersOf, isFor, LiveAnswer } from './answer.js';
import { answerCodec } from './answer-codec.js';
import { type Demands, demandsOf } from './cache/demands.js';
import { detach } from './cache/detach.js';
import { flightKeyOf, type Found, HttpCache } from './cache/http-cache.js';
import { replayStored } from './cache/replay-stored.js';
import { capture, type CaptureOptions, observe } from './capture.js';
import { errorFor, StepAsideError } from './errors.js';
import { HitForMiss } from './hit-for-miss.js';
import { hasCredentials, isAuthorized } from './identity.js';
import { requestKey, variantOf } from './key.js';
import { checkCollapseOptions, type CheckedOptions, type CollapseOptions } from './options.js';
import type { Verdict } from './recorder.js';
import { canBeAnsweredLive, replay, replayLive } from './replay.js';
import { ownBusinessOf, type UnshareableReason } from './shareable.js';
import { addCacheStatus, type CacheStatus, type Forward } from './status-header.js';
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
  /** The name of its collapser, as it appears in metrics. */
  readonly namespace: string;
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
export function collapse(
  collapser: Collapser,
  options: CollapseOptions = {},
): RequestHandler & Pick<CollapseHandler, 'namespace' | 'stats'> {
  checkCollapser(collapser);
  const site = new Site(collapser, checkCollapseOptions(options));
  return Object.assign(site.handler, { stats: () => site.stats(), namespace: collapser.name });
}

function checkCollapser(collapser: unknown): void {
  const expected = objectWith('a collapser: collapse(createCollapser(…))', 'flight')(collapser);
  if (expected === undefined) return;
  const isRequest = typeof collapser === 'object' && collapser !== null && 'method' in collapser && 'headers' in collapser;
  throw misuse(
    'ERR_ONEFLIGHT_OPTION',
    expected,
    isRequest ? 'a request: mount what collapse() returns, not collapse itself' : describe(collapser),
  );
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
  /** Whether its answer is not kept, as too many of the key's variants are. */
  readonly isUnkept?: boolean;
  /** What is stored for a HEAD, and did not do. */
  readonly found?: Found | undefined;
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
  /** Absent where nothing is kept after those who wait were answered. */
  readonly #cache: HttpCache | undefined;
  /** How many GET requests of a key wait or run here. */
  readonly #gets = new Map<string, number>();
  /** What Express calls. */
  readonly handler: RequestHandler = (request, response, next) => this.#handle({ request, response, next });

  constructor(collapser: Collapser, options: CheckedOptions) {
    this.#collapser = collapser;
    this.#options = options;
    this.#tally = new Tally(collapser.name);
    const given = { collapser, options, tally: this.#tally, codec: (key: string) => this.#codec(key) };
    this.#cache = options.policy && new HttpCache(options.policy, given);
    if (isInsideHandler()) this.#warnings.say('ONEFLIGHT_HTTP_CREATED_IN_HANDLER');
  }

  #handle(exchange: Exchange): void | Promise<void> {
    const { request, response, next } = exchange;
    if (response.headersSent) return next();
    const reason = this.#whyBypass(request);
    if (reason === 'method') this.#cache?.watch(request, response);
    if (reason !== undefined && !this.#mayLook(request, reason)) return this.#bypass(exchange, reason);
    if (this.#options.identity === 'ignore' && isAuthorized(request)) this.#warnings.say('ONEFLIGHT_HTTP_CREDENTIALS_IGNORED');
    const key = requestKey(request, this.#options, this.handler);
    Reflect.set(request, IN_HAND, true);
    if (this.#cache === undefined) return this.#goOn(exchange, key, undefined);
    const demands = demandsOf(request.headers);
    if (!this.#cache.needsLook(request, demands)) return this.#goOn(exchange, key, undefined);
    return this.#look(this.#cache, exchange, key, demands, reason);
  }

  /** Answers from the store what needs no handler; else goes on. */
  async #look(cache: HttpCache, exchange: Exchange, key: string, demands: Demands, reason: HttpBypassReason | undefined): Promise<void> {
    const { request, response } = exchange;
    const getKey = request.method === 'GET' ? key : requestKey(request, this.#options, this.handler, 'GET');
    const found = await cache.find(getKey, request);
    if (response.headersSent || response.destroyed) {
      this.#tally.collapsed++;
      return this.#noteGone(response);
    }
    if (found !== undefined && cache.mayUse(found, demands)) {
      this.#tally.collapsed++;
      return this.#answerFromStore(exchange, found.answer, found.ageMs);
    }
    if (demands.onlyIfCached) {
      this.#tally.missing++;
      return void response.status(504).end();
    }
    if (reason !== undefined) return this.#bypass(exchange, reason);
    return this.#goOn(exchange, key, found);
  }

  /** Not answered from the store by a look at it. */
  #goOn(exchange: Exchange, key: string, found: Found | undefined): void | Promise<void> {
    const { request } = exchange;
    if (this.#missed.has(key)) {
      observe(this.#captureOptions(exchange, { key }));
      return this.#bypass(exchange, 'hit_for_miss');
    }
    this.#tally.collapsed++;
    if (request.method === 'HEAD') {
      const getKey = requestKey(request, this.#options, this.handler, 'GET');
      if (this.#gets.has(getKey)) return this.#flight(exchange, { key: getKey, lead: stepAside });
    }
    const variant = request.method === 'GET' ? this.#cache?.variantOf(key, request) : undefined;
    return this.#flight(exchange, { key, variant: variant ?? undefined, isUnkept: variant === null, found });
  }

  #answerFromStore({ request, response }: Exchange, answer: Answer, ageMs: number): void {
    const ttlMs = (answer.terms?.ttlMs ?? 0) - ageMs;
    this.#tally.replayed++;
    if (ttlMs > 0) this.#tally.hits++;
    else this.#tally.stale++;
    replayStored(request, response, answer, () => {
      response.setHeader('Age', Math.floor(ageMs / 1_000));
      this.#tell(response, { how: 'hit', ttlMs });
    });
  }

  /** A part of an answer can be had where the whole is stored. */
  #mayLook(request: Request, reason: HttpBypassReason): boolean {
    const isPersonal = this.#options.identity === 'bypass' && hasCredentials(request);
    return reason === 'range' && this.#cache?.policy.obeys === true && !isPersonal;
  }

  stats(): CollapseStats {
    const { collapsed, handled, replayed, streamed, truncated, failed, elsewhere, refused, capturing, capturedBytes } = this.#tally;
    const { hits, stale, staleIfError, stored, revalidated, missing, changes, changesLost } = this.#tally;
    const { bypassed, unshareable, unserved, left } = this.#tally;
    return {
      ...{ collapsed, handled, replayed, streamed, truncated, failed, elsewhere, refused, capturing, capturedBytes },
      ...{ hits, stale, staleIfError, stored, revalidated, missing, changes, changesLost },
      ...{ bypassed: { ...bypassed }, unshareable: { ...unshareable }, unserved: { ...unserved }, left: { ...left } },
      hitForMissKeys: this.#missed.size,
      getKeys: this.#gets.size,
    };
  }

  #whyBypass(request: Request): HttpBypassReason | undefined {
    const { methods, skip, identity } = this.#options;
    if (!methods.has(request.method)) return 'method';
    if (isExpress4(request)) return 'unsupported';
    if (IN_HAND in request) return 'nested';
    if (skip?.(request) === true) return 'skip';
    return ownBusinessOf(request) ?? (identity === 'bypass' && hasCredentials(request) ? 'credentials' : undefined);
  }

  #bypass({ response, next }: Exchange, reason: HttpBypassReason): void {
    this.#tally.note({ type: 'bypass', reason });
    if (reason === 'unsupported') this.#warnings.say('ONEFLIGHT_HTTP_EXPRESS_VERSION');
    if (reason === 'nested') this.#warnings.say('ONEFLIGHT_HTTP_NESTED');
    else this.#tell(response, { how: 'bypass', reason });
    next();
  }

  /** Asks the collapser; the request is answered by its own handler, or by the answer to an equal one. */
  async #flight(exchange: Exchange, flight: Flight): Promise<void> {
    const { request, response, next } = exchange;
    const { key, variant, lead } = flight;
    const cache = flight.isUnkept === true || lead !== undefined ? undefined : this.#cache;
    const leaves = new AbortController();
    const leave = (): void => {
      if (!response.writableFinished) leaves.abort(); // else its answer was complete: that is no reason to leave
    };
    response.once('close', leave);
    let handled = false;
    const before = cache?.policy.obeys === true ? headersOf(response) : NO_HEADERS;
    // Another request's load may start this one: whatever the application keeps in an AsyncLocalStorage must be its own.
    const ownContext = new AsyncResource('oneflight');
    const load = async (context: LoadContext): Promise<Answer | null> => {
      lead?.();
      if (context.isRefresh) await detach(request, response, before);
      else if (response.headersSent) throw new StepAsideError('this request was answered before its turn to load came');
      else handled = this.#noteHandled(handled);
      return capture(this.#loadOptions(exchange, flight, context, cache), context, leave, () => ownContext.runInAsyncScope(next));
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
      const flightKey = flightKeyOf(key, variant);
      const result = await this.#collapser.flight<Answer | LiveAnswer | null>(['http', flightKey], load, {
        ...this.#options.call,
        ...cache?.callFor(request, demandsOf(request.headers)),
        ...{ signal: leaves.signal, shareErrors: false, isolate: 'none', mayBePrivate: true, early, codec: this.#codec(flightKey) },
      });
      if (!handled) this.#answerWith(result, exchange, flight);
    } catch (error) {
      const { aborted } = leaves.signal;
      const reason: unknown = leaves.signal.reason;
      if (handled) return void (aborted && this.#tally.note({ type: 'left', reason: 'handling' }));
      if (isHead(reason)) this.#tryVariant(reason, exchange, flight);
      else if (aborted) this.#noteGone(response);
      else this.#answerWithout(error, exchange);
    } finally {
      leaveGets?.();
      response.off('close', leave);
    }
  }

  /** A request whose handler runs is counted once, however often it is asked to load. */
  #noteHandled(before: boolean): true {
    if (!before) this.#tally.handled++;
    return true;
  }

  /** A request that nobody needs to answer any more. */
  #noteGone({ headersSent }: Response): void {
    if (headersSent) this.#tally.elsewhere++;
    else this.#tally.note({ type: 'left', reason: 'waiting' });
  }

  #answerWith({ value: answer, source, ageMs }: FlightResult<Answer | LiveAnswer | null>, exchange: Exchange, flight: Flight): void {
    const { request, response } = exchange;
    if (response.headersSent) return this.#noteGone(response);
    if (answer === null) return this.#runAlone(exchange, 'error');
    const tell = (): void => this.#tell(response, { how: 'follower', varies: flight.variant !== undefined });
    if (answer instanceof LiveAnswer) {
      this.#tally.replayed++;
      this.#tally.streamed++;
      return replayLive(request, response, answer, {
        beforeHead: tell,
        onCut: () => this.#tally.note({ type: 'truncated' }),
        onLeft: () => this.#tally.note({ type: 'left', reason: 'reading' }),
      });
    }
    if (flight.isUnkept !== true) this.#cache?.learn(flight.key, flight.variant, answer);
    if (!isFor(request, answer)) return this.#tryVariant(answer, exchange, flight);
    if (source === 'cache' || source === 'stale') return this.#answerFromStore(exchange, answer, ageMs);
    this.#tally.replayed++;
    replay(request, response, answer, () => {
      if (answer.ageMs !== undefined && answer.ageMs > 0) response.setHeader('Age', Math.floor(answer.ageMs / 1_000));
      tell();
    });
  }

  /** The answer is for requests of another variant: this one looks for those of its own. */
  #tryVariant({ vary }: AnswerHead, exchange: Exchange, { key, variant, lead }: Flight): void {
    const { request } = exchange;
    if (variant !== undefined || lead !== undefined) return this.#runAlone(exchange, 'vary');
    const isUnkept = this.#cache?.variantOf(key, request) === null;
    void this.#flight(exchange, { key, variant: variantOf(request, vary), isUnkept });
  }

  /** No answer came: an error for the application only where running the handler is what must not happen. */
  #answerWithout(error: unknown, exchange: Exchange): void {
    if (exchange.response.headersSent) return this.#noteGone(exchange.response);
    const failure = errorFor(error);
    if (failure !== undefined) {
      this.#tally.failed++;
      return exchange.next(failure);
    }
    this.#runAlone(exchange, isTimeout(error) ? 'timeout' : 'error');
  }

  #runAlone({ response, next }: Exchange, reason: UnservedReason): void {
    this.#tally.note({ type: 'unserved', reason });
    this.#tell(response, { how: 'unserved', reason });
    next();
  }

  /** How a load lets the handler answer: with what it is asked about, and what is kept of it. */
  #loadOptions(exchange: Exchange, flight: Flight, context: LoadContext, cache: HttpCache | undefined): CaptureOptions {
    const { request } = exchange;
    const isAlone = context.isAlone;
    const keeping = isAlone ? undefined : cache?.keeping(request);
    const revalidation = keeping && cache?.revalidation(request, context, keeping);
    const forward = (): Forward | undefined => {
      if (cache?.policy.obeys !== true || keeping === undefined || request.method !== 'GET') return undefined;
      return { why: whyForwarded(context, demandsOf(request.headers)), status: revalidation?.status, isStored: keeping.keeps };
    };
    const onVerdict = (verdict: Verdict): void => {
      this.#learn(flight, verdict);
      if (context.previous !== undefined && keeping !== undefined) cache?.settle(flightKeyOf(flight.key, flight.variant), verdict, keeping);
    };
    const status = (): CacheStatus => ({ how: isAlone ? 'alone' : 'leader', varies: flight.variant !== undefined, forward: forward() });
    return { ...this.#captureOptions(exchange, flight, status), onVerdict, keeping, revalidation, isDetached: context.isRefresh };
  }

  #captureOptions({ request, response }: Exchange, flight: Flight, status?: () => CacheStatus): CaptureOptions {
    return {
      ...{ request, response, options: this.#options, tally: this.#tally, warnings: this.#warnings },
      onVerdict: (verdict) => this.#learn(flight, verdict),
      beforeHead: () => {
        if (status !== undefined) this.#tell(response, status());
      },
    };
  }

  #learn({ key, variant, found, isUnkept }: Flight, verdict: Verdict): void {
    if (verdict.kind === 'shared') this.#missed.forget(key);
    if (verdict.kind === 'shared' && verdict.answer !== undefined) {
      if (verdict.answer.terms !== undefined) this.#tally.stored++;
      if (found !== undefined) this.#cache?.compare(found, verdict.answer);
      else if (isUnkept !== true) this.#cache?.learn(key, variant, verdict.answer);
    }
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

const NO_HEADERS: HeaderMap = new Map();

/** Its requests have a method that Express 5 took away. */
function isExpress4(request: Request): boolean {
  return 'param' in request && typeof request.param === 'function';
}

/** A HEAD has no body to give to those who asked with GET. */
function stepAside(): never {
  throw new StepAsideError('a HEAD does not run for those who asked with GET');
}

/** Why a request left: the head of an answer to another variant. */
function isHead(reason: unknown): reason is AnswerHead {
  return typeof reason === 'object' && reason !== null && 'variant' in reason;
}

function whyForwarded({ previous }: LoadContext, demands: Demands): Forward['why'] {
  if (previous === undefined) return 'uri-miss';
  const isFresh = previous.ageMs < (previous.lifetimes?.ttlMs ?? 0);
  return isFresh && (demands.maxAgeMs !== undefined || demands.minFreshMs > 0) ? 'request' : 'stale';
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_ONEFLIGHT_WAIT_TIMEOUT';
}
