import { asCoordinatorError, limited, type ClaimantHost } from './claimant.js';
import type { CoordinatorLink, KeyHash, TagHash, TagIndex } from './coordinator.js';
import type { CoordinatorError } from './errors.js';
import { Owed } from './owed.js';
import { invalidateTag } from './tag-invalidation.js';

/** What the invalidations of one collapser need of it. */
export interface InvalidationsHost extends ClaimantHost {
  /** What an invalidation of the key means on this replica; an infinite floor where the coordinator was not reached. */
  keyInvalidated(key: KeyHash, floor: number): void;
  tagInvalidated(tag: TagHash, token: number): void;
}

/** Sends invalidations, and applies them here. Those that the coordinator has not acknowledged are owed, and sent again before the next claim. */
export class Invalidations {
  readonly #host: InvalidationsHost;
  readonly #link: CoordinatorLink;
  readonly #owedKeys = new Owed();
  readonly #owedTags = new Owed();
  #paying: Promise<CoordinatorError | undefined> | undefined;

  constructor(host: InvalidationsHost, link: CoordinatorLink) {
    this.#host = host;
    this.#link = link;
  }

  /** Returns why it failed; it holds on this replica all the same. */
  async invalidate(key: KeyHash): Promise<CoordinatorError | undefined> {
    const failure = await this.#send(key);
    // Without an answer there is no telling which flights it would have fenced.
    this.#host.keyInvalidated(key, failure === undefined ? this.#host.floors.get(key) : Number.POSITIVE_INFINITY);
    return failure;
  }

  /** Returns why it failed; it holds on this replica all the same. */
  async invalidateTag(tags: TagIndex, tag: TagHash): Promise<CoordinatorError | undefined> {
    let token = Number.POSITIVE_INFINITY;
    try {
      token = await invalidateTag(this.#tagHost(tags), tag);
      this.#owedTags.remove(tag);
      return undefined;
    } catch (error) {
      this.#owedTags.add(tag);
      return asCoordinatorError(error);
    } finally {
      this.#host.tagInvalidated(tag, token);
    }
  }

  /**
   * Sends what is owed and may concern the key: until then a claim could find the very flight, or value, that was to be
   * fenced. Which keys carry a tag is not known here, so an owed tag concerns every key. Returns why it failed again.
   */
  pay(key: KeyHash): Promise<CoordinatorError | undefined> | undefined {
    if (this.#owedTags.size === 0 && !this.#owedKeys.has(key)) return undefined;
    return this.#pay(key);
  }

  async #pay(key: KeyHash): Promise<CoordinatorError | undefined> {
    this.#paying ??= this.#payTags().finally(() => {
      this.#paying = undefined;
    });
    const failure = await this.#paying;
    return failure ?? (this.#owedKeys.has(key) ? this.#send(key) : undefined);
  }

  async #payTags(): Promise<CoordinatorError | undefined> {
    const { tags } = this.#link;
    if (tags === undefined) return undefined;
    const failures = await Promise.all(Array.from(this.#owedTags, (tag) => this.invalidateTag(tags, tag)));
    return failures.find((failure) => failure !== undefined);
  }

  async #send(key: KeyHash): Promise<CoordinatorError | undefined> {
    try {
      this.#host.floors.raise(key, await this.#invalidateRemotely(key));
      this.#owedKeys.remove(key);
      return undefined;
    } catch (error) {
      this.#owedKeys.add(key);
      return asCoordinatorError(error);
    }
  }

  /** An invalidation that is executed twice does no harm, so it is sent again when its reply does not come. */
  async #invalidateRemotely(key: KeyHash): Promise<number> {
    const { commandTimeoutMs } = this.#link.timings;
    const send = (): Promise<number> => limited(this.#host, 'invalidate', commandTimeoutMs, () => this.#link.invalidate({ key }));
    try {
      return await send();
    } catch (error) {
      if (asCoordinatorError(error).reason !== 'timeout') throw error;
      return send();
    }
  }

  #tagHost(tags: TagIndex): Parameters<typeof invalidateTag>[0] {
    const { clock, pulse, report } = this.#host;
    return {
      ...{ clock, pulse, report, tags, commandTimeoutMs: this.#link.timings.commandTimeoutMs },
      invalidate: async (key) => {
        const failure = await this.invalidate(key);
        if (failure !== undefined) throw failure;
      },
    };
  }
}
