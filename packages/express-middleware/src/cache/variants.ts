import type { Request } from 'express';

import type { AnswerHead } from '../answer.js';
import { variantOf } from '../key.js';

interface Known {
  readonly names: readonly string[];
  /** The variant that is kept under the key itself: the first that came. */
  readonly first: string;
  readonly seen: Set<string>;
  readonly since: number;
}

/**
 * What answers of a key vary on, as they said last, so that a request asks for its own variant at once. Bounded: in keys, the
 * oldest make room; and in variants of a key, what comes after that is not kept for a while.
 */
export class Variants {
  readonly #known = new Map<string, Known>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The variant that a request asks for: undefined where nothing is known or it is the first, null where there are too many. */
  of(key: string, request: Request): string | null | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    const variant = variantOf(request, known.names);
    if (variant === known.first) return undefined;
    if (!known.seen.has(variant) && known.seen.size >= VARIANTS_MAX) return null;
    known.seen.add(variant);
    return variant;
  }

  /** What an answer that was asked for under the key itself varies on. */
  learn(key: string, { vary, variant }: AnswerHead): void {
    const known = this.#known.get(key);
    this.#known.delete(key);
    if (vary.length === 0) return;
    const isSame = known !== undefined && known.names.join() === vary.join() && known.since > this.#now() - REMEMBER_MS;
    const { seen, since } = isSame ? known : { seen: new Set<string>(), since: this.#now() };
    this.#known.set(key, { names: vary, first: variant, seen, since });
    if (this.#known.size <= KEYS_MAX) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }

  /** An answer to one variant varies on something else than was known. */
  unlearn(key: string, { vary }: AnswerHead): void {
    const known = this.#known.get(key);
    if (known !== undefined && known.names.join() !== vary.join()) this.#known.delete(key);
  }
}

const VARIANTS_MAX = 64;
const KEYS_MAX = 2_000;
const REMEMBER_MS = 600_000;
