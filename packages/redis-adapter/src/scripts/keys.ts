import { createHash, randomBytes } from 'node:crypto';
import type { FlightId, KeyHash, TagHash } from '@oneflight/core';

/**
 * Every name that the coordinator uses in Redis is made here and nowhere else.
 *
 * | name | type | content | expiry |
 * |---|---|---|---|
 * | `prefix:v1:{hash}:l` | string | lease `id token`: who leads | `leaseMs` |
 * | `prefix:v1:{hash}:s` | hash | state: `n` last token issued, `fl` floor, `f` and `t` the flight's id and token, `rec` recovery, `a` failed attempts in a row | twice the lease after a claim; 10 minutes after an invalidation |
 * | `prefix:v1:{hash}:w` | hash | waiters: id -> `min` | 8 rechecks + 1 s, at least the lease |
 * | `prefix:v1:{hash}:r` | hash | outcome: `t` token, `o` frame | `retainMs`; less where nobody was registered |
 * | `prefix:v1:{hash}:v` | hash | the value that was stored on request: `t` token, `o` frame, `at` when it settled, `d` how long its load took | as long as a caller may accept it |
 * | `prefix:v1:{hash}:e` | hash | the error that was stored on request, the same way | `lingerMs` or `negativeTtlMs` |
 * | `prefix:v1:{hash}:p:id` | string | on Cluster, the frame on its way into the settle script, which deletes it | `retainMs` |
 * | `prefix:v1:{tag}:k` | sorted set | the keys that carry a tag: hash by when its note ends | a minute longer than their values |
 * | `prefix:v1:{tag}:i` | string | token of the tag's last invalidation | 10 minutes |
 * | `prefix:v1:{tag}:g` | set | names of the batches of keys that wait to be invalidated | as long as their values may |
 * | `prefix:v1:{tag}:g:name` | sorted set | such a batch | as long as its values may |
 * | `prefix:v1:{namespace}:c` | string | tag clock: token of the last invalidation of any tag | 10 minutes |
 * | `prefix:v1:i:random` | channel | inbox of one replica | |
 * | `prefix:v1:b:hash` | channel | broadcast of one namespace | |
 *
 * `{hash}` is the key's hash and the only hash tag, so all keys of one logical key live on one shard, and nothing that a
 * user sends reaches a name. `v1` is the version of the protocol: replicas that speak another one do not meet.
 * The client's own `keyPrefix` is switched off, because it would rewrite keys and leave channels as they are.
 */
export interface KeyNames {
  lease(key: KeyHash): string;
  state(key: KeyHash): string;
  waiters(key: KeyHash): string;
  outcome(key: KeyHash): string;
  /** The value that was stored on request. */
  value(key: KeyHash): string;
  /** The error that was stored on request. */
  failure(key: KeyHash): string;
  payload(key: KeyHash, id: FlightId): string;
  /** The token of the last invalidation of any tag of the namespace. */
  tagClock(namespace: string): string;
  /** The keys that carry the tag. */
  tagMembers(tag: TagHash): string;
  /** The token of the tag's last invalidation. */
  tagInvalidated(tag: TagHash): string;
  /** The names of batches of keys that wait to be invalidated. */
  tagBatches(tag: TagHash): string;
  tagBatch(tag: TagHash, name: string): string;
  /** A new name each time: ids made of it are unique per process start. */
  newInbox(): string;
  broadcast(namespace: string): string;
}

/** Names for one prefix. */
export function keyNames(prefix: string): KeyNames {
  const root = `${prefix}:v1:`;
  return Object.freeze({
    lease: (key) => `${root}{${key}}:l`,
    state: (key) => `${root}{${key}}:s`,
    waiters: (key) => `${root}{${key}}:w`,
    outcome: (key) => `${root}{${key}}:r`,
    value: (key) => `${root}{${key}}:v`,
    failure: (key) => `${root}{${key}}:e`,
    payload: (key, id) => `${root}{${key}}:p:${id}`,
    tagClock: (namespace) => `${root}{${hashed(namespace)}}:c`,
    tagMembers: (tag) => `${root}{${tag}}:k`,
    tagInvalidated: (tag) => `${root}{${tag}}:i`,
    tagBatches: (tag) => `${root}{${tag}}:g`,
    tagBatch: (tag, name) => `${root}{${tag}}:g:${name}`,
    newInbox: () => `${root}i:${randomBytes(16).toString('base64url')}`,
    broadcast: (namespace) => `${root}b:${hashed(namespace)}`,
  } satisfies KeyNames);
}

function hashed(namespace: string): string {
  return createHash('sha256').update(namespace).digest('base64url');
}

/** What a name of a key or tag is of; undefined for names that say nothing about one, and for those of another prefix. */
export function readName(prefix: string, name: string): { readonly hash: string; readonly kind: KeyKind } | undefined {
  const start = `${prefix}:v1:{`;
  const end = name.indexOf('}:', start.length);
  if (!name.startsWith(start) || end === -1) return undefined;
  const kind = KINDS[name.slice(end + 2).split(':', 1)[0] ?? ''];
  return kind === undefined ? undefined : { hash: name.slice(start.length, end), kind };
}

/** Matches the names that {@link readName} can read, in SCAN. A prefix holds no character that is special there. */
export function namesPattern(prefix: string): string {
  return `${prefix}:v1:{*`;
}

export type KeyKind = 'leases' | 'states' | 'waiters' | 'outcomes' | 'values' | 'failures' | 'payloads' | 'tags';

const KINDS: Readonly<Record<string, KeyKind>> = Object.freeze({
  l: 'leases',
  s: 'states',
  w: 'waiters',
  r: 'outcomes',
  v: 'values',
  e: 'failures',
  p: 'payloads',
  k: 'tags',
});

/** The inbox of the replica that made this id: the part before `#`. */
export function inboxOf(id: FlightId): string {
  const end = id.indexOf('#');
  return end === -1 ? id : id.slice(0, end);
}
