import { hash } from 'node:crypto';
import type { KeyHash } from './coordinator.js';
import { describe, misuse } from './errors.js';

/** One part of a key. Types are kept apart: `1`, `'1'`, `1n` and `true` are four different parts. */
export type KeyPart = string | number | bigint | boolean | null;

/**
 * What makes two calls equal. The order of an object's properties does not matter, the order of an array's parts does;
 * `'a'`, `['a']` and `{ a: 'a' }` are different keys.
 */
export type Key = string | readonly KeyPart[] | { readonly [name: string]: KeyPart | readonly KeyPart[] };

/**
 * A key in the one form that equal keys share and different keys do not: a text as it is, everything else behind a mark. So
 * the many calls with plain texts build none.
 */
export type CanonicalKey = string;

/** Begins the canonical form of what is not a text, and of a text that begins with it. */
const MARK = '\u0001';

/** No key of a sane program is longer (64 Ki UTF-16 units of its canonical form): beyond it a call throws. */
export const KEY_LENGTH_MAX = 65_536;

const CONTRACT = 'a key: a non-empty string, a non-empty array of key parts, or a non-empty object of them';
const PART_CONTRACT = 'a string, finite number, bigint, boolean or null';

/**
 * Brings a key into its canonical form.
 *
 * @throws TypeError ERR_ONEFLIGHT_KEY for anything that is no key, names the place, never shows the content.
 */
export function canonicalKey(key: Key): CanonicalKey {
  const canonical = typeof key === 'string' ? text(key) : `${MARK}${composite(key)}`;
  if (canonical === '' || (canonical.length === 2 && typeof key !== 'string')) throw misuse('ERR_ONEFLIGHT_KEY', CONTRACT, describe(key));
  if (canonical.length > KEY_LENGTH_MAX) {
    throw misuse(
      'ERR_ONEFLIGHT_KEY',
      `a key of at most ${KEY_LENGTH_MAX} characters; hash large content into the key`,
      `${canonical.length} characters`,
    );
  }
  return canonical;
}

/** Whether a text is its own canonical form. */
export function isCanonical(key: string): boolean {
  return !key.startsWith(MARK);
}

/**
 * Hashes a canonical key for the outside world, so that nothing a user sends reaches the name of a Redis key.
 * UTF-16 because UTF-8 would fold different lone surrogates into one replacement character, and two keys into one.
 */
export function hashKey(namespace: string, canonical: CanonicalKey): KeyHash {
  return hash('sha256', Buffer.from(`${namespace.length}:${namespace}${canonical}`, 'utf16le'), 'base64url');
}

/** The size of a canonical key in bytes, as `keyBytesMax` counts it. */
export function keyBytes(canonical: CanonicalKey): number {
  return Buffer.byteLength(canonical) - (isCanonical(canonical) ? 0 : 2);
}

function text(key: string): CanonicalKey {
  return isCanonical(key) ? key : `${MARK}s${key}`;
}

function composite(key: unknown): CanonicalKey {
  if (Array.isArray(key)) return key.length === 0 ? 'a' : `a${partsText(key, 'key')}`;
  if (typeof key !== 'object' || key === null) throw misuse('ERR_ONEFLIGHT_KEY', CONTRACT, describe(key));
  const prototype: unknown = Object.getPrototypeOf(key);
  if (prototype !== Object.prototype && prototype !== null) throw misuse('ERR_ONEFLIGHT_KEY', CONTRACT, describe(key));
  const entries = Object.entries(key).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return 'o';
  return `o[${entries.map(([name, value]) => `${textPart(name)},${valueText(value, name)}`).join(',')}]`;
}

function valueText(value: unknown, name: string): string {
  if (Array.isArray(value)) return `[${partsText(value, `key.${name}`)}]`;
  return partText(value) ?? refusePart(value, `key.${name}`);
}

/** On the way of every call with such a key: nothing is made but the text. */
function partsText(parts: readonly unknown[], place: string): string {
  let all = '[';
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    all += `${index === 0 ? '' : ','}${partText(part) ?? refusePart(part, `${place}[${index}]`)}`;
  }
  return `${all}]`;
}

/** A text begins with its length, so nothing in it can end it; only a number looks as a number does; undefined for what is no part. */
function partText(part: unknown): string | undefined {
  if (typeof part === 'string') return textPart(part);
  if (typeof part === 'number') return Number.isFinite(part) ? `${part}` : undefined;
  if (typeof part === 'bigint') return `${part}n`;
  return part === null || typeof part === 'boolean' ? String(part) : undefined;
}

function textPart(part: string): string {
  return `${part.length}"${part}`;
}

function refusePart(part: unknown, place: string): never {
  throw misuse('ERR_ONEFLIGHT_KEY', `${place} to be ${PART_CONTRACT}`, describe(part));
}
