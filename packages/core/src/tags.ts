import { createHash } from 'node:crypto';
import type { OptionCheck } from './check-options.js';
import type { TagHash } from './coordinator.js';
import { describe, misuse } from './errors.js';

/** A value carries at most this many tags: each costs a round trip of its load, and a note until the value ends. */
const TAGS_MAX = 32;
/** A tag is at most this long, in UTF-16 units. */
const TAG_LENGTH_MAX = 512;

/** Tags, or what says them once the value is known. */
export type Tags<T = unknown> = readonly string[] | TagsOf<T>['of'];

/** A method, so that options of one type of value can be passed where those of any are expected. */
interface TagsOf<T> {
  of(value: T): readonly string[];
}

const CONTRACT = `an array of at most ${TAGS_MAX} tags, each a string of 1 to ${TAG_LENGTH_MAX} characters`;

/** Checks the option. */
export const tagsCheck: OptionCheck = (value) =>
  typeof value === 'function' || areTags(value) ? undefined : `${CONTRACT}, or a function from the value to them`;

/** @throws TypeError ERR_ONEFLIGHT_OPTION */
export function checkTag(tag: unknown): asserts tag is string {
  if (!isTag(tag)) throw misuse('ERR_ONEFLIGHT_OPTION', `a tag: a string of 1 to ${TAG_LENGTH_MAX} characters`, describe(tag));
}

/** Whether a call, or a load for it, has anything to do with tags. */
export function hasTags(tags: Tags | undefined): tags is Tags {
  return typeof tags === 'function' || (tags !== undefined && tags.length > 0);
}

/**
 * The tags of a value, each once. An error carries those that were known before.
 *
 * @throws What the function throws; TypeError ERR_ONEFLIGHT_OPTION where it gives no tags.
 */
export function tagsOf(tags: Tags | undefined, end: { readonly how: string; readonly value?: unknown }): readonly string[] {
  if (typeof tags !== 'function') return [...new Set(tags)];
  if (end.how !== 'value') return [];
  const said: unknown = tags(end.value);
  if (!areTags(said)) throw misuse('ERR_ONEFLIGHT_OPTION', `options.tags to return ${CONTRACT}`, describe(said));
  return [...new Set(said)];
}

/** Hashes a tag for the outside world, as a key is hashed; no key has the same hash, because canonical keys begin otherwise. */
export function hashTag(namespace: string, tag: string): TagHash {
  return createHash('sha256').update(`${namespace.length}:${namespace}t${tag}`, 'utf16le').digest('base64url');
}

function areTags(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.length <= TAGS_MAX && value.every(isTag);
}

function isTag(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= TAG_LENGTH_MAX;
}
