import { asCoordinatorError, limited, type ClaimantHost } from './claimant.js';
import type { CoordinatorLink, KeyHash, TagHash, TagIndex } from './coordinator.js';
import type { CoordinatorError } from './errors.js';
import { Owed } from './owed.js';
import { PAY_AT_ONCE, Repayment, type RepaymentHost } from './repayment.js';
import { invalidateTag } from './tag-invalidation.js';

/** What the invalidations of one collapser need of it. */
export interface InvalidationsHost extends ClaimantHost, RepaymentHost {
  /** What an invalidation of the key means on this replica; an infinite floor where the coordinator was not reached. */
  keyInvalidated(key: KeyHash, floor: number): void;
  tagInvalidated(tag: TagHash, token: number): void;
}

/**
 * Sends invalidations, and applies them here. Those that the coordinator has not acknowledged are owed: they are sent again
 * before the next claim, and beside all calls once the coordinator is back.
 */
export class Invalidations {
  readonly #host: InvalidationsHost;
  readonly #link: CoordinatorLink;
  readonly #owedKeys = new Owed();
  readonly #owedTags = new Owed();
  readonly #repayment: Repayment;
  #paying: Promise<CoordinatorError | undefined> | undefined;

  constructor(host: InvalidationsHost, link: CoordinatorLink) {
    this.#host = host;
    this.#link = link;
    this.#repayment = new Repayment(host, () => this.#debts());
  }

  /** How many keys and tags are owed. */
  get owed(): number {
    return this.#owedKeys.size + this.#owedTags.size;
  }

  /** The coordinator seems to be back: what is owed is sent, also of keys that nobody asks for here. */
  paySoon(): void {
    this.#repayment.soon();
  }

  /** What is owed is sent by nobody any more. */
  close(): void {
    this.#repayment.close();
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
    const failure = await this.#sendTag(tags, tag);
    if (failure !== undefined) this.#host.tagInvalidated(tag, Number.POSITIVE_INFINITY);
    return failure;
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
    const owed = Array.from(this.#owedTags);
    for (let sent = 0; sent < owed.length; sent += PAY_AT_ONCE) {
      const lot = owed.slice(sent, sent + PAY_AT_ONCE).filter((tag) => this.#owedTags.has(tag));
      const failure = (await Promise.all(lot.map((tag) => this.#sendTag(tags, tag)))).find((each) => each !== undefined);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** Tags first: until they are paid no claim is sent here. What was paid meanwhile counts as paid. */
  #debts(): readonly (() => Promise<boolean>)[] {
    const { tags } = this.#link;
    const payTag = async (tag: TagHash): Promise<boolean> =>
      tags === undefined || !this.#owedTags.has(tag) || (await this.#sendTag(tags, tag)) === undefined;
    const payKey = async (key: KeyHash): Promise<boolean> => !this.#owedKeys.has(key) || (await this.#send(key)) === undefined;
    return [...Array.from(this.#owedTags, (tag) => () => payTag(tag)), ...Array.from(this.#owedKeys, (key) => () => payKey(key))];
  }

  async #send(key: KeyHash): Promise<CoordinatorError | undefined> {
    const debt = this.#owedKeys.debtOf(key);
    try {
      this.#host.floors.raise(key, await this.#invalidateRemotely(key));
      this.#owedKeys.remove(key, debt);
      return undefined;
    } catch (error) {
      this.#owe(this.#owedKeys, key);
      return asCoordinatorError(error);
    }
  }

  /** Applied here where it went well: where it did not, that was done when it first failed. */
  async #sendTag(tags: TagIndex, tag: TagHash): Promise<CoordinatorError | undefined> {
    const debt = this.#owedTags.debtOf(tag);
    try {
      const token = await invalidateTag(this.#tagHost(tags), tag);
      this.#owedTags.remove(tag, debt);
      this.#host.tagInvalidated(tag, token);
      return undefined;
    } catch (error) {
      this.#owe(this.#owedTags, tag);
      return asCoordinatorError(error);
    }
  }

  #owe(owed: Owed, key: string): void {
    owed.add(key);
    this.#repayment.later();
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
