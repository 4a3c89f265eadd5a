import type { Lifetimes } from '@oneflight/core';
import type { Request } from 'express';

import type { Answer, AnswerHeader } from '../answer.js';
import { isAuthorized } from '../identity.js';
import type { Head } from '../shareable.js';
import { controlOf } from './control.js';
import { assess, type Assessment, type Policy, TERM_MS_MAX } from './terms.js';

/** Decides for one run of a handler whether its answer is kept for requests that come later, and for how long. */
export class Keeping {
  readonly #policy: Policy;
  readonly #request: Request;
  readonly #now: () => number;
  #assessment: (Assessment & { readonly at: number }) | undefined;
  /** The answer is one from the store: its handler failed. */
  #staleAgeMs: number | undefined;
  /** The answer's body was made for a request with `Authorization`: this one, or an earlier one. */
  #isAuthorized: boolean;

  constructor(policy: Policy, request: Request, now: () => number = Date.now) {
    this.#policy = policy;
    this.#request = request;
    this.#isAuthorized = isAuthorized(request);
    this.#now = now;
  }

  /** The head of an answer that others may have. */
  seeHead(head: Head): void {
    const at = this.#now();
    if (this.#staleAgeMs !== undefined || !this.#mayKeep(head)) return;
    const assessment = assess(head, this.#policy, at);
    if (lifeMsOf(assessment) > 0) this.#assessment = { ...assessment, at };
  }

  /** What was sent was no head after all. */
  forgetHead(): void {
    this.#assessment = undefined;
  }

  /** The answer is a stored one, found to hold still. */
  renews({ terms }: Answer): void {
    if (terms?.wasAuthorized === true) this.#isAuthorized = true;
  }

  /** A stored answer is given instead of the handler's error. */
  isStale(ageMs: number): void {
    this.#staleAgeMs = ageMs;
  }

  /** Whether the answer is the stored one, unchanged. */
  get isAboutStored(): boolean {
    return this.#staleAgeMs !== undefined;
  }

  /** Whether the answer will be there for later requests. */
  get keeps(): boolean {
    return this.#assessment !== undefined;
  }

  /** The answer with what later requests must know of it: when it was made, how old it is, and for how long it holds. */
  mark(answer: Answer): Answer {
    const at = this.#now();
    if (this.#staleAgeMs !== undefined) return { ...answer, headers: withoutAge(answer.headers), ageMs: this.#staleAgeMs };
    if (this.#assessment === undefined) return answer;
    const { terms, ageMs, at: headAt } = this.#assessment;
    const headers = withoutAge(answer.headers);
    const isDated = headers.some(([name]) => name === 'date');
    const dated: readonly AnswerHeader[] = isDated ? headers : [...headers, ['date', new Date(headAt).toUTCString()]];
    // What is as old as can be when its head is sent is no older when it is complete.
    const ageNow = Math.min(ageMs + Math.max(0, at - headAt), TERM_MS_MAX);
    return { ...answer, headers: dated, ageMs: ageNow, terms: { ...terms, wasAuthorized: this.#isAuthorized } };
  }

  /** RFC 9111 section 3; that others may have it at all was decided before. */
  #mayKeep({ headers }: Head): boolean {
    if (this.#request.method !== 'GET') return false;
    const { control } = controlOf(headers);
    return !this.#isAuthorized || FOR_LATER.some((name) => control.has(name));
  }
}

/** How long core keeps an answer; nothing new for one without terms. */
export function lifetimesOf({ terms, ageMs = 0 }: Answer): Lifetimes {
  if (terms === undefined) return { ttlMs: 0 };
  const { ttlMs, staleWhileRevalidateMs, staleIfErrorMs, revalidateMs } = terms;
  return { ttlMs, staleWhileRevalidateMs, staleIfErrorMs, revalidateMs, ageMs };
}

/** With these an answer to a request with `Authorization` may be used again (RFC 9111 section 3.5). */
const FOR_LATER = ['public', 's-maxage', 'must-revalidate'];

function lifeMsOf({ terms, ageMs }: Assessment): number {
  return terms.ttlMs + Math.max(terms.staleWhileRevalidateMs, terms.staleIfErrorMs, terms.revalidateMs) - ageMs;
}

function withoutAge(headers: readonly AnswerHeader[]): readonly AnswerHeader[] {
  return headers.filter(([name]) => name !== 'age');
}
