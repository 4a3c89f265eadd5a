import { AsyncResource } from 'node:async_hooks';

import type { FlightResult, LoadContext } from '@oneflight/core';

import { type Answer, type AnswerHead, type HeaderMap, headersOf, isFor, LiveAnswer } from './answer.js';
import { answerFromStore, noteGone } from './answering.js';
import { demandsOf } from './cache/demands.js';
import { detach } from './cache/detach.js';
import { flightKeyOf, type Found } from './cache/http-cache.js';
import { capture } from './capture.js';
import { errorFor, StepAsideError } from './errors.js';
import type { Exchange } from './exchange.js';
import { loadOptions } from './handler-run.js';
import { variantOf } from './key.js';
import { canBeAnsweredLive, replay, replayLive } from './replay.js';
import type { Site } from './site.js';
import type { UnservedReason } from './tally.js';

/** What a request asks the collapser for. */
export interface Flight {
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

/** Requests that wait for a flight, or whose handler runs as one, and how each is answered. */
export class Flights {
  readonly #site: Site;
  /** How many GET requests of a key wait or run here. */
  readonly #gets = new Map<string, number>();

  constructor(site: Site) {
    this.#site = site;
  }

  /** For how many keys a GET request waits or runs here. */
  get getKeys(): number {
    return this.#gets.size;
  }

  /** Whether a GET request of the key waits or runs here. */
  hasGet(key: string): boolean {
    return this.#gets.has(key);
  }

  /** Asks the collapser; the request is answered by its own handler, or by the answer to an equal one. */
  async fly(exchange: Exchange, flight: Flight): Promise<void> {
    const { request, response, next } = exchange;
    const { key, variant, lead } = flight;
    const cache = flight.isUnkept === true || lead !== undefined ? undefined : this.#site.cache;
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
      return capture(loadOptions(this.#site, exchange, flight, { context, cache }), context, leave, () => ownContext.runInAsyncScope(next));
    };
    const early = (offered: unknown): { readonly value: LiveAnswer } | undefined => {
      if (!(offered instanceof LiveAnswer) || response.headersSent) return undefined;
      if (isFor(request, offered.head)) {
        return canBeAnsweredLive(request, response, offered.head, this.#site.options.etag !== false) ? { value: offered } : undefined;
      }
      queueMicrotask(() => leaves.abort(offered.head)); // another variant: there is nothing to wait for
      return undefined;
    };
    const leaveGets = request.method === 'GET' ? this.#joinGets(key) : undefined;
    try {
      const flightKey = flightKeyOf(key, variant);
      const result = await this.#site.collapser.flight<Answer | LiveAnswer | null>(['http', flightKey], load, {
        ...this.#site.options.call,
        ...cache?.callFor(request, demandsOf(request.headers)),
        ...{ signal: leaves.signal, shareErrors: false, isolate: 'none', mayBePrivate: true, early, codec: this.#site.codec(flightKey) },
      });
      if (!handled) this.#answerWith(result, exchange, flight);
    } catch (error) {
      const { aborted } = leaves.signal;
      const reason: unknown = leaves.signal.reason;
      if (handled) return void (aborted && this.#site.tally.note({ type: 'left', reason: 'handling' }));
      if (isHead(reason)) this.#tryVariant(reason, exchange, flight);
      else if (aborted) noteGone(this.#site, response);
      else this.#answerWithout(error, exchange);
    } finally {
      leaveGets?.();
      response.off('close', leave);
    }
  }

  /** A request whose handler runs is counted once, however often it is asked to load. */
  #noteHandled(before: boolean): true {
    if (!before) this.#site.tally.handled++;
    return true;
  }

  #answerWith({ value: answer, source, ageMs }: FlightResult<Answer | LiveAnswer | null>, exchange: Exchange, flight: Flight): void {
    const { request, response } = exchange;
    if (response.headersSent) return noteGone(this.#site, response);
    if (answer === null) return this.#runAlone(exchange, 'error');
    const tell = (): void => this.#site.tell(response, { how: 'follower', varies: flight.variant !== undefined });
    if (answer instanceof LiveAnswer) {
      this.#site.tally.replayed++;
      this.#site.tally.streamed++;
      return replayLive(request, response, answer, {
        beforeHead: tell,
        onCut: () => this.#site.tally.note({ type: 'truncated' }),
        onLeft: () => this.#site.tally.note({ type: 'left', reason: 'reading' }),
      });
    }
    if (flight.isUnkept !== true) this.#site.cache?.learn(flight.key, flight.variant, answer);
    if (!isFor(request, answer)) return this.#tryVariant(answer, exchange, flight);
    if (source === 'cache' || source === 'stale') return answerFromStore(this.#site, exchange, answer, ageMs);
    this.#site.tally.replayed++;
    replay(request, response, answer, () => {
      if (answer.ageMs !== undefined && answer.ageMs > 0) response.setHeader('Age', Math.floor(answer.ageMs / 1_000));
      tell();
    });
  }

  /** The answer is for requests of another variant: this one looks for those of its own. */
  #tryVariant({ vary }: AnswerHead, exchange: Exchange, { key, variant, lead }: Flight): void {
    const { request } = exchange;
    if (variant !== undefined || lead !== undefined) return this.#runAlone(exchange, 'vary');
    const isUnkept = this.#site.cache?.variantOf(key, request) === null;
    void this.fly(exchange, { key, variant: variantOf(request, vary), isUnkept });
  }

  /** No answer came: an error for the application only where running the handler is what must not happen. */
  #answerWithout(error: unknown, exchange: Exchange): void {
    if (exchange.response.headersSent) return noteGone(this.#site, exchange.response);
    const failure = errorFor(error);
    if (failure !== undefined) {
      this.#site.tally.failed++;
      return exchange.next(failure);
    }
    this.#runAlone(exchange, isTimeout(error) ? 'timeout' : 'error');
  }

  #runAlone({ response, next }: Exchange, reason: UnservedReason): void {
    this.#site.tally.note({ type: 'unserved', reason });
    this.#site.tell(response, { how: 'unserved', reason });
    next();
  }

  #joinGets(key: string): () => void {
    this.#gets.set(key, (this.#gets.get(key) ?? 0) + 1);
    return () => {
      const left = (this.#gets.get(key) ?? 1) - 1;
      if (left === 0) this.#gets.delete(key);
      else this.#gets.set(key, left);
    };
  }
}

const NO_HEADERS: HeaderMap = new Map();

/** Why a request left: the head of an answer to another variant. */
function isHead(reason: unknown): reason is AnswerHead {
  return typeof reason === 'object' && reason !== null && 'variant' in reason;
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_ONEFLIGHT_WAIT_TIMEOUT';
}
