import type { LoadContext } from '@oneflight/core';

import { type Demands, demandsOf } from './cache/demands.js';
import { flightKeyOf, type HttpCache } from './cache/http-cache.js';
import type { CaptureOptions } from './capture.js';
import type { Exchange } from './exchange.js';
import type { Flight } from './flights.js';
import type { Verdict } from './recorder.js';
import type { UnshareableReason } from './shareable.js';
import type { Site } from './site.js';
import type { CacheStatus, Forward } from './status-header.js';

/** A run of the handler as a load. */
interface Run {
  readonly context: LoadContext;
  /** Absent where nothing is kept of its answer. */
  readonly cache: HttpCache | undefined;
}

/** How a load lets the handler answer: with what it is asked about, and what is kept of it. */
export function loadOptions(site: Site, exchange: Exchange, flight: Flight, { context, cache }: Run): CaptureOptions {
  const { request } = exchange;
  const isAlone = context.isAlone;
  const keeping = isAlone ? undefined : cache?.keeping(request);
  const revalidation = keeping && cache?.revalidation(request, context, keeping);
  const forward = (): Forward | undefined => {
    if (cache?.policy.obeys !== true || keeping === undefined || request.method !== 'GET') return undefined;
    return { why: whyForwarded(context, demandsOf(request.headers)), status: revalidation?.status, isStored: keeping.keeps };
  };
  const onVerdict = (verdict: Verdict): void => {
    learn(site, flight, verdict);
    if (context.previous !== undefined && keeping !== undefined) cache?.settle(flightKeyOf(flight.key, flight.variant), verdict, keeping);
  };
  const status = (): CacheStatus => ({ how: isAlone ? 'alone' : 'leader', varies: flight.variant !== undefined, forward: forward() });
  return { ...captureOptions(site, exchange, flight, status), onVerdict, keeping, revalidation, isDetached: context.isRefresh };
}

/** The same where nothing is asked about, and nothing kept. */
export function captureOptions(site: Site, { request, response }: Exchange, flight: Flight, status?: () => CacheStatus): CaptureOptions {
  return {
    ...{ request, response, options: site.options, tally: site.tally, warnings: site.warnings },
    onVerdict: (verdict) => learn(site, flight, verdict),
    beforeHead: () => {
      if (status !== undefined) site.tell(response, status());
    },
  };
}

/** Remembers what the answer says of the key. */
function learn({ missed, tally, cache }: Site, { key, variant, found, isUnkept }: Flight, verdict: Verdict): void {
  if (verdict.kind === 'shared') missed.forget(key);
  if (verdict.kind === 'shared' && verdict.answer !== undefined) {
    if (verdict.answer.terms !== undefined) tally.stored++;
    if (found !== undefined) cache?.compare(found, verdict.answer);
    else if (isUnkept !== true) cache?.learn(key, variant, verdict.answer);
  }
  if (verdict.kind === 'private' && !PASSING.has(verdict.reason)) missed.remember(key);
}

/** These say something about the moment, and nothing about the next answer. */
const PASSING = new Set<UnshareableReason>(['busy', 'incomplete']);

function whyForwarded({ previous }: LoadContext, demands: Demands): Forward['why'] {
  if (previous === undefined) return 'uri-miss';
  const isFresh = previous.ageMs < (previous.lifetimes?.ttlMs ?? 0);
  return isFresh && (demands.maxAgeMs !== undefined || demands.minFreshMs > 0) ? 'request' : 'stale';
}
