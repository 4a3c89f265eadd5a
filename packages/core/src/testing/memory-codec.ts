import { deserialize, serialize } from 'node:v8';
import type { Codec } from '../codec.js';
import { PayloadError, describe } from '../errors.js';

/**
 * The hub's codec: node's own structured serialisation, for bytes that never leave the process. Like a codec that does
 * cross processes it refuses functions, symbols and instances of classes instead of sending something that looks alike.
 */
export const memoryCodec: Codec = Object.freeze({
  encode(value: unknown): Uint8Array {
    refuseUntravelable(value, new Set());
    return serialize(value);
  },
  decode: (bytes: Uint8Array): unknown => deserialize(bytes),
});

function refuseUntravelable(value: unknown, seen: Set<object>): void {
  if (typeof value === 'function' || typeof value === 'symbol') throw untravelable(value);
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && !PLAIN_PROTOTYPES.has(prototype)) throw untravelable(value);
  for (const part of partsOf(value)) refuseUntravelable(part, seen);
}

function untravelable(value: unknown): PayloadError {
  return new PayloadError(`expected plain data, got ${describe(value)}, which cannot travel to another replica`);
}

function partsOf(value: object): unknown[] {
  const own = Reflect.ownKeys(value).flatMap((name): unknown[] => (typeof name === 'symbol' ? [name] : [Reflect.get(value, name)]));
  if (value instanceof Map) return [...own, ...value.keys(), ...value.values()];
  if (value instanceof Set) return [...own, ...value];
  return own;
}

const PLAIN_PROTOTYPES = new Set<unknown>([Object.prototype, Array.prototype, Map.prototype, Set.prototype, Date.prototype]);
