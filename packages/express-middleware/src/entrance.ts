import type { Request, RequestHandler } from 'express';

import { answerFromStore, noteGone } from './answering.js';
import { type Demands, demandsOf } from './cache/demands.js';
import type { Found, HttpCache } from './cache/http-cache.js';
import { observe } from './capture.js';
import { StepAsideError } from './errors.js';
import type { Exchange } from './exchange.js';
import type { Flights } from './flights.js';
import { captureOptions } from './handler-run.js';
import { hasCredentials, isAuthorized } from './identity.js';
import { requestKey } from './key.js';
import { ownBusinessOf } from './shareable.js';
import type { Site } from './site.js';
import type { HttpBypassReason } from './tally.js';

/**
 * Marks a request that a `collapse()` has in hand. A second one would wait for the first, which waits for its handler: for
 * ever. A property, because a WeakSet of all requests makes each garbage collection slow.
 */
const IN_HAND = Symbol('oneflight.collapse');

/** Where each request comes in: it goes its own way, is answered from the store, or flies with its equals. */
export class Entrance {
  readonly #site: Site;
  readonly #flights: Flights;
  /** What Express calls. */
  readonly handler: RequestHandler = (request, response, next) => this.#handle({ request, response, next });

  constructor(site: Site, flights: Flights) {
    this.#site = site;
    this.#flights = flights;
  }

  #handle(exchange: Exchange): void | Promise<void> {
    const { request, response, next } = exchange;
    if (response.headersSent) return next();
    const reason = this.#whyBypass(request);
    if (reason === 'method') this.#site.cache?.watch(request, response);
    if (reason !== undefined && !this.#mayLook(request, reason)) return this.#bypass(exchange, reason);
    if (this.#site.options.identity === 'ignore' && isAuthorized(request)) this.#site.warnings.say('ONEFLIGHT_HTTP_CREDENTIALS_IGNORED');
    const key = requestKey(request, this.#site.options, this.handler);
    Reflect.set(request, IN_HAND, true);
    if (this.#site.cache === undefined) return this.#goOn(exchange, key, undefined);
    const demands = demandsOf(request.headers);
    if (!this.#site.cache.needsLook(request, demands)) return this.#goOn(exchange, key, undefined);
    return this.#look(this.#site.cache, exchange, key, demands, reason);
  }

  /** Answers from the store what needs no handler; else goes on. */
  async #look(cache: HttpCache, exchange: Exchange, key: string, demands: Demands, reason: HttpBypassReason | undefined): Promise<void> {
    const { request, response } = exchange;
    const getKey = request.method === 'GET' ? key : requestKey(request, this.#site.options, this.handler, 'GET');
    const found = await cache.find(getKey, request);
    if (response.headersSent || response.destroyed) {
      this.#site.tally.collapsed++;
      return noteGone(this.#site, response);
    }
    if (found !== undefined && cache.mayUse(found, demands)) {
      this.#site.tally.collapsed++;
      return answerFromStore(this.#site, exchange, found.answer, found.ageMs);
    }
    if (demands.onlyIfCached) {
      this.#site.tally.missing++;
      return void response.status(504).end();
    }
    if (reason !== undefined) return this.#bypass(exchange, reason);
    return this.#goOn(exchange, key, found);
  }

  /** Not answered from the store by a look at it. */
  #goOn(exchange: Exchange, key: string, found: Found | undefined): void | Promise<void> {
    const { request } = exchange;
    if (this.#site.missed.has(key)) {
      observe(captureOptions(this.#site, exchange, { key }));
      return this.#bypass(exchange, 'hit_for_miss');
    }
    this.#site.tally.collapsed++;
    if (request.method === 'HEAD') {
      const getKey = requestKey(request, this.#site.options, this.handler, 'GET');
      if (this.#flights.hasGet(getKey)) return this.#flights.fly(exchange, { key: getKey, lead: stepAside });
    }
    const variant = request.method === 'GET' ? this.#site.cache?.variantOf(key, request) : undefined;
    return this.#flights.fly(exchange, { key, variant: variant ?? undefined, isUnkept: variant === null, found });
  }

  /** A part of an answer can be had where the whole is stored. */
  #mayLook(request: Request, reason: HttpBypassReason): boolean {
    const isPersonal = this.#site.options.identity === 'bypass' && hasCredentials(request);
    return reason === 'range' && this.#site.cache?.policy.obeys === true && !isPersonal;
  }

  #whyBypass(request: Request): HttpBypassReason | undefined {
    const { methods, skip, identity } = this.#site.options;
    if (!methods.has(request.method)) return 'method';
    if (isExpress4(request)) return 'unsupported';
    if (IN_HAND in request) return 'nested';
    if (skip?.(request) === true) return 'skip';
    return ownBusinessOf(request) ?? (identity === 'bypass' && hasCredentials(request) ? 'credentials' : undefined);
  }

  #bypass({ response, next }: Exchange, reason: HttpBypassReason): void {
    this.#site.tally.note({ type: 'bypass', reason });
    if (reason === 'unsupported') this.#site.warnings.say('ONEFLIGHT_HTTP_EXPRESS_VERSION');
    if (reason === 'nested') this.#site.warnings.say('ONEFLIGHT_HTTP_NESTED');
    else this.#site.tell(response, { how: 'bypass', reason });
    next();
  }
}

/** Its requests have a method that Express 5 took away. */
function isExpress4(request: Request): boolean {
  return 'param' in request && typeof request.param === 'function';
}

/** A HEAD has no body to give to those who asked with GET. */
function stepAside(): never {
  throw new StepAsideError('a HEAD does not run for those who asked with GET');
}
