import type { Codec, Collapser, LoadContext, RunOptions } from '@oneflight/core';
import type { Request, Response } from 'express';

import { type Answer, type AnswerHead, isFor, LiveAnswer } from '../answer.js';
import { variantOf } from '../key.js';
import type { CheckedOptions } from '../options.js';
import type { Verdict } from '../recorder.js';
import type { Tally } from '../tally.js';
import { mayChange, tagsOf, watchChange } from './changes.js';
import { allows, type Demands, demandsOf } from './demands.js';
import { Keeping } from './keeping.js';
import type { Revalidation } from './revalidation.js';
import { type Policy, TERM_MS_MAX } from './terms.js';
import { Variants } from './variants.js';

/** An answer from the store, for this request, and how old it is now. */
export interface Found {
  readonly answer: Answer;
  readonly ageMs: number;
  readonly flightKey: string;
}

export interface HttpCacheGiven {
  readonly collapser: Collapser;
  readonly options: CheckedOptions;
  readonly tally: Tally;
  readonly codec: (flightKey: string) => AnswerCodec;
}

type AnswerCodec = Codec<Answer | LiveAnswer | null>;

/**
 * What the store of the collapser has to do with one request: what it may be answered with, what its load is to ask about,
 * and what is kept of the answer.
 */
export class HttpCache {
  readonly policy: Policy;
  readonly #options: CheckedOptions;
  readonly #collapser: Collapser;
  readonly #tally: Tally;
  readonly #codec: (flightKey: string) => AnswerCodec;
  readonly #variants = new Variants();

  constructor(policy: Policy, { collapser, options, tally, codec }: HttpCacheGiven) {
    this.policy = policy;
    this.#options = options;
    this.#collapser = collapser;
    this.#tally = tally;
    this.#codec = codec;
  }

  /** The variant of a key that a request asks for, where it is known: undefined for the first, null where there are too many. */
  variantOf(key: string, request: Request): string | null | undefined {
    return this.#variants.of(key, request);
  }

  learn(key: string, variant: string | undefined, head: AnswerHead): void {
    if (variant === undefined) this.#variants.learn(key, head);
    else this.#variants.unlearn(key, head);
  }

  /** Whether only a look at the store tells what is right for a request. */
  needsLook({ method, headers }: Request, demands: Demands): boolean {
    if (!this.policy.obeys) return false;
    const { minFreshMs, maxStaleMs, onlyIfCached } = demands;
    return method === 'HEAD' || headers.range !== undefined || minFreshMs > 0 || maxStaleMs > 0 || onlyIfCached;
  }

  /** What is stored for a request under the key of its GET, however old. */
  async find(key: string, request: Request): Promise<Found | undefined> {
    const variant = this.#variants.of(key, request);
    if (variant === null) return undefined;
    const first = await this.#peek(flightKeyOf(key, variant));
    if (first === undefined || isFor(request, first.answer)) return first;
    if (variant !== undefined) return undefined;
    const own = await this.#peek(flightKeyOf(key, variantOf(request, first.answer.vary)));
    return own !== undefined && isFor(request, own.answer) ? own : undefined;
  }

  /** Whether what was found answers the request without asking anybody. */
  mayUse({ answer: { terms }, ageMs }: Found, demands: Demands): boolean {
    return terms !== undefined && allows(demands, terms, ageMs);
  }

  /** What the collapser may answer a call with. */
  callFor(request: Request, { maxAgeMs, minFreshMs }: Demands): RunOptions {
    const { obeys, lingerMs } = this.policy;
    if (request.method !== 'GET') return {};
    const freshest = minFreshMs > 0 ? 0 : Math.min(maxAgeMs ?? TERM_MS_MAX, TERM_MS_MAX);
    if (!obeys) return { ttlMs: Math.min(freshest, lingerMs) };
    const staleMs = maxAgeMs === undefined && minFreshMs === 0 ? TERM_MS_MAX : 0;
    // Only what is kept has tags: each costs a round trip.
    const tags = (answer: unknown): readonly string[] => (isAnswer(answer) ? tagsOf(request, this.#options) : []);
    return { ttlMs: freshest, staleWhileRevalidateMs: staleMs, staleIfErrorMs: staleMs, revalidateMs: TERM_MS_MAX, tags };
  }

  /** A request that may change what is stored: once it has, that is removed on every replica. */
  watch(request: Request, response: Response): void {
    if (!this.policy.obeys || !mayChange(request)) return;
    watchChange(request, response, this.#options, async (tags) => {
      try {
        await Promise.all(tags.map((tag) => this.#collapser.invalidateTag(tag)));
        this.#tally.changes++;
      } catch {
        this.#tally.changesLost++;
      }
    });
  }

  keeping(request: Request): Keeping {
    return new Keeping(this.policy, request);
  }

  /** What a load is to ask its handler about. */
  revalidation(request: Request, { previous }: LoadContext, keeping: Keeping): (Revalidation & { status: number | undefined }) | undefined {
    if (!this.policy.obeys || request.method !== 'GET' || previous === undefined) return undefined;
    const { value, ageMs } = previous;
    if (!isAnswer(value) || !isFor(request, value)) return undefined;
    const at = performance.now();
    const ageNow = (): number => ageMs + performance.now() - at;
    const demands = demandsOf(request.headers);
    const revalidation = {
      previous: value,
      status: undefined as number | undefined,
      ageMs: ageNow,
      mayServeOnError: () => maySaveFromError(value, demands, ageNow()),
      onTaken: (how: 'validated' | 'failed', status: number) => {
        revalidation.status = status;
        if (how === 'validated') this.#tally.revalidated++;
        if (how === 'validated') return keeping.renews(value);
        this.#tally.stale++;
        this.#tally.staleIfError++;
        keeping.isStale(ageNow());
      },
    };
    return revalidation;
  }

  /** The answer to a HEAD tells that what is stored is not what there is any more (RFC 9111 section 4.3.5). */
  compare({ answer, flightKey }: Found, head: Answer): void {
    const of = ({ headers }: Answer, name: string): string => String(headers.find(([found]) => found === name)?.[1] ?? '');
    const differs = (name: string): boolean => of(head, name) !== '' && of(head, name) !== of(answer, name);
    const hasOtherLength = head.length !== undefined && head.length !== answer.body.byteLength;
    if (hasOtherLength || differs('etag') || differs('last-modified')) this.#remove(flightKey);
  }

  /** The handler has said something new about what is stored: where that is not kept, the old is not either. */
  settle(flightKey: string, verdict: Verdict, keeping: Keeping): void {
    const isNew = verdict.kind === 'private' || (verdict.kind === 'shared' && !keeping.isAboutStored);
    if (this.policy.obeys && isNew && !(verdict.kind === 'shared' && keeping.keeps)) this.#remove(flightKey);
  }

  #remove(flightKey: string): void {
    void this.#collapser.invalidate(['http', flightKey]).catch(() => this.#tally.changesLost++);
  }

  async #peek(flightKey: string): Promise<Found | undefined> {
    const codec = this.#codec(flightKey);
    // A collapser that is closed stores nothing; nothing else rejects.
    const stored = await this.#collapser.peek(['http', flightKey], { codec }).catch(() => undefined);
    if (stored === undefined || stored.value === null || stored.value instanceof LiveAnswer) return undefined;
    return { answer: stored.value, ageMs: stored.ageMs, flightKey };
  }
}

/** The name under which the collapser knows a key, or one variant of it. */
export function flightKeyOf(key: string, variant: string | undefined): string {
  return variant === undefined ? key : `${key} ${variant}`;
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === 'object' && value !== null && 'body' in value && 'terms' in value;
}

/** RFC 5861 section 4, and no more than the request takes. */
function maySaveFromError({ terms }: Answer, { maxAgeMs, minFreshMs }: Demands, ageMs: number): boolean {
  if (terms === undefined || terms.isStrict || maxAgeMs !== undefined || minFreshMs > 0) return false;
  return ageMs < terms.ttlMs + terms.staleIfErrorMs;
}
