import { asCoordinatorError, limited, type ClaimantHost } from './claimant.js';
import type { KeyHash, TagHash, TagIndex } from './coordinator.js';

/** What the invalidation of a tag needs of its collapser. */
export interface TagInvalidationHost extends Pick<ClaimantHost, 'clock' | 'pulse' | 'report'> {
  readonly tags: TagIndex;
  readonly commandTimeoutMs: number;
  /** Invalidates one key, here and in the cluster. @throws CoordinatorError */
  invalidate(key: KeyHash): Promise<void>;
}

/**
 * Invalidates a tag, step by step, because on Cluster a tag lives on another server than the keys that carry it. First the
 * tag clock and the tag's own mark move, so that every load that began before finds out when it ends; then each key noted
 * under the tag is invalidated by itself; then the others are told. Broken off in between, nothing is lost but the
 * promise: the keys that were not reached wait for the next invalidation of the tag. Returns its token.
 *
 * @throws CoordinatorError
 */
export async function invalidateTag(host: TagInvalidationHost, tag: TagHash): Promise<number> {
  const { tags } = host;
  const token = await persisted(host, () => tags.advance());
  for (const batch of await persisted(host, () => tags.detach({ tag, token }))) await invalidateBatch(host, tag, batch);
  await persisted(host, () => tags.announce({ tag, token }));
  return token;
}

async function invalidateBatch(host: TagInvalidationHost, tag: TagHash, batch: string): Promise<void> {
  let done: readonly KeyHash[] = [];
  for (;;) {
    const previous = done;
    const keys = await persisted(host, () => host.tags.take({ tag, batch, done: previous }));
    if (keys.length === 0) return;
    await Promise.all(keys.map((key) => host.invalidate(key)));
    done = keys;
  }
}

/** Each step may be executed twice, so it is sent once more when its reply does not come. */
async function persisted<T>(host: TagInvalidationHost, send: () => Promise<T>): Promise<T> {
  const attempt = (): Promise<T> => limited(host, 'tag', host.commandTimeoutMs, send);
  try {
    return await attempt();
  } catch (error) {
    if (asCoordinatorError(error).reason !== 'timeout') throw error;
    return attempt();
  }
}
