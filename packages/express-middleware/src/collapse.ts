import type { Collapser, LoadContext } from '@oneflight/core';
import type { NextFunction, Request, RequestHandler, Response } from 'express';

import { capture, type Captured } from './capture.js';
import { requestKey } from './key.js';
import { checkCollapseOptions, type CheckedOptions, type CollapseOptions } from './options.js';
import { isCaptured, replay } from './replay.js';
import { mayCollapse } from './shareable.js';

/**
 * Makes a middleware that runs what comes after it once for all equal GET and HEAD requests that are under way at the
 * same time, on all replicas of the collapser. Mount it after everything that decides who may see what, and after
 * anything that sets headers of its own for each request (request id, CORS, compression, session, rate limit).
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION
 */
export function collapse(collapser: Collapser, options: CollapseOptions = {}): RequestHandler {
  const checked = checkCollapseOptions(options);
  return function collapseRequests(request, response, next) {
    if (!mayCollapse(request) || checked.skip(request)) return next();
    return answer(collapser, checked, { request, response, next });
  };
}

interface Exchange {
  readonly request: Request;
  readonly response: Response;
  readonly next: NextFunction;
}

async function answer(collapser: Collapser, { bodyBytesMax }: CheckedOptions, exchange: Exchange): Promise<void> {
  const { request, response, next } = exchange;
  const leaves = new AbortController();
  response.once('close', () => leaves.abort());
  let handled = false;
  const load = (context: LoadContext): Promise<Captured | null> => {
    if (response.headersSent) throw new Error('this request was answered before its turn to load came');
    handled = true;
    hideConditions(request);
    return capture({ request, response, context, bodyBytesMax }, next);
  };
  try {
    const captured = await collapser.run(requestKey(request), load, { signal: leaves.signal, shareErrors: false });
    // The handler has answered this caller itself, or there is nothing for it that fits: then it does so now.
    if (!handled && !(isCaptured(captured) && replay(request, response, captured))) next();
  } catch (error) {
    if (!handled && !leaves.signal.aborted) next(error);
  }
}

/** The answer is for everyone, so the leader's own condition must not turn it into an empty 304. */
function hideConditions(request: Request): void {
  delete request.headers['if-none-match'];
  delete request.headers['if-modified-since'];
}
