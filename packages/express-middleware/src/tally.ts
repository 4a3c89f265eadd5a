import { channel } from 'node:diagnostics_channel';

import type { OwnBusiness, UnshareableReason } from './shareable.js';

/** Why a request was not collapsed. */
export type HttpBypassReason = OwnBusiness | 'credentials' | 'hit_for_miss' | 'method' | 'nested' | 'skip' | 'unsupported';

/** Why a request that waited had to run its handler all the same. */
export type UnservedReason = 'error' | 'timeout' | 'vary';

/** What a request was about when its client went away. */
export type LeftWhile = 'handling' | 'reading' | 'waiting';

/** What happens in one `collapse()`; published on the diagnostics channel `oneflight:http`. No key appears. */
export type HttpEvent =
  | { readonly type: 'bypass'; readonly reason: HttpBypassReason }
  | { readonly type: 'unshareable'; readonly reason: UnshareableReason }
  | { readonly type: 'unserved'; readonly reason: UnservedReason }
  /** A client went away: while its request waited, while its own handler ran, or in the middle of another one's answer. */
  | { readonly type: 'left'; readonly reason: LeftWhile }
  /** A request that got an answer as it was made did not get all of it: it broke off, or its caller was too slow. */
  | { readonly type: 'truncated' }
  /** An answer from another replica that was malformed, too large, or for another key. */
  | { readonly type: 'refused' };

/** What one `collapse()` did since it was made, and what it holds now. Plain numbers. */
export interface CollapseStats {
  /**
   * Requests that asked the collapser. Each that waits no more is in exactly one of `handled`, `replayed`, `unserved`, `failed`,
   * `elsewhere` and `left.waiting`.
   */
  readonly collapsed: number;
  /** Of these, those whose own handler ran, on behalf of all who waited. */
  readonly handled: number;
  /** Of these, those answered with another one's answer. */
  readonly replayed: number;
  /** Of these, those that got it as it was made, and of these those who did not get all of it. */
  readonly streamed: number;
  readonly truncated: number;
  /** Of those that were replayed, those whose answer was stored and fresh, and those whose answer was stored and stale. */
  readonly hits: number;
  readonly stale: number;
  /** Of the stale ones, those given because a handler failed: their requests are among `handled`. */
  readonly staleIfError: number;
  /** Answers of handlers that were kept for later requests. */
  readonly stored: number;
  /** Stored answers that their handler found to hold still (304). */
  readonly revalidated: number;
  /** Requests with `only-if-cached` for which nothing was stored. */
  readonly missing: number;
  /** Changes (POST, PUT, PATCH, DELETE, …) after which stored answers were removed, and those whose news reached nobody. */
  readonly changes: number;
  readonly changesLost: number;
  readonly bypassed: Readonly<Partial<Record<HttpBypassReason, number>>>;
  readonly unshareable: Readonly<Partial<Record<UnshareableReason, number>>>;
  readonly unserved: Readonly<Partial<Record<UnservedReason, number>>>;
  /** Of those that asked, those that were passed an error, as their handler must not run. */
  readonly failed: number;
  /** Of those that asked, those that something else answered meanwhile, as a timeout of the application does. */
  readonly elsewhere: number;
  /** Clients that went away. */
  readonly left: Readonly<Record<LeftWhile, number>>;
  readonly refused: number;
  /** Now: keys whose requests are not collapsed for a while, answers being copied, and the bytes that were copied of them. */
  readonly hitForMissKeys: number;
  readonly capturing: number;
  readonly capturedBytes: number;
  /** Now: keys of which a GET waits or runs, so that a HEAD may follow it. */
  readonly getKeys: number;
}

/** Counts, and tells those who listen; costs about nothing when nobody does. */
export class Tally {
  readonly #collapser: string;
  readonly #channel = channel('oneflight:http');
  readonly bypassed: Partial<Record<HttpBypassReason, number>> = {};
  readonly unshareable: Partial<Record<UnshareableReason, number>> = {};
  readonly unserved: Partial<Record<UnservedReason, number>> = {};
  readonly left: Record<LeftWhile, number> = { handling: 0, reading: 0, waiting: 0 };
  collapsed = 0;
  handled = 0;
  failed = 0;
  elsewhere = 0;
  replayed = 0;
  hits = 0;
  stale = 0;
  staleIfError = 0;
  stored = 0;
  revalidated = 0;
  missing = 0;
  changes = 0;
  changesLost = 0;
  streamed = 0;
  truncated = 0;
  refused = 0;
  capturing = 0;
  capturedBytes = 0;

  constructor(collapser: string) {
    this.#collapser = collapser;
  }

  note(event: HttpEvent): void {
    if (event.type === 'bypass') this.bypassed[event.reason] = (this.bypassed[event.reason] ?? 0) + 1;
    if (event.type === 'unshareable') this.unshareable[event.reason] = (this.unshareable[event.reason] ?? 0) + 1;
    if (event.type === 'unserved') this.unserved[event.reason] = (this.unserved[event.reason] ?? 0) + 1;
    if (event.type === 'left') this.left[event.reason]++;
    if (event.type === 'refused') this.refused++;
    if (event.type === 'truncated') this.truncated++;
    if (this.#channel.hasSubscribers) this.#channel.publish(Object.freeze({ collapser: this.#collapser, ...event }));
  }
}
