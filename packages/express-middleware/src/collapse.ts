import { type Collapser, describe, misuse, objectWith } from '@oneflight/core';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

import { Entrance } from './entrance.js';
import { Flights } from './flights.js';
import { checkCollapseOptions, type CollapseOptions } from './options.js';
import { Site } from './site.js';
import type { CollapseStats } from './tally.js';
import { isInsideHandler } from './warnings.js';

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
  if (isInsideHandler()) site.warnings.say('ONEFLIGHT_HTTP_CREATED_IN_HANDLER');
  const flights = new Flights(site);
  const { handler } = new Entrance(site, flights);
  return Object.assign(handler, { stats: () => statsOf(site, flights), namespace: collapser.name });
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

function statsOf({ tally, missed }: Site, flights: Flights): CollapseStats {
  const { collapsed, handled, replayed, streamed, truncated, failed, elsewhere, refused, capturing, capturedBytes } = tally;
  const { hits, stale, staleIfError, stored, revalidated, missing, changes, changesLost } = tally;
  const { bypassed, unshareable, unserved, left } = tally;
  return {
    ...{ collapsed, handled, replayed, streamed, truncated, failed, elsewhere, refused, capturing, capturedBytes },
    ...{ hits, stale, staleIfError, stored, revalidated, missing, changes, changesLost },
    ...{ bypassed: { ...bypassed }, unshareable: { ...unshareable }, unserved: { ...unserved }, left: { ...left } },
    hitForMissKeys: missed.size,
    getKeys: flights.getKeys,
  };
}
