import { isAnyArrayBuffer } from 'node:util/types';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultCodec } from '../../src/codec.js';

const withAll = {
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withSparseArray: true,
  withNullPrototype: true,
  withUnicodeString: true,
} as const;

/** Anything that travels: what fast-check calls anything (without own keys `__proto__`), and binary in all its forms. */
const anything = fc.anything({ ...withAll, key: fc.string({ unit: 'binary' }).filter((key) => key !== '__proto__') });
const binary = fc
  .uint8Array({ maxLength: 40 })
  .chain((bytes) =>
    fc.constantFrom<unknown>(
      Buffer.from(bytes),
      new Uint8Array(bytes).buffer,
      new DataView(new Uint8Array(bytes).buffer),
      Buffer.from(bytes).subarray(1),
    ),
  );
const unpaired = fc.array(fc.integer({ min: 0xd7f0, max: 0xe010 })).map((units) => String.fromCharCode(...units));
const value = fc.oneof(
  anything,
  fc.array(fc.oneof(anything, binary, unpaired)),
  fc.record({ a: anything, b: fc.oneof(binary, unpaired), c: anything }),
);

/** All that a caller can see of a value, in the order in which they see it; tells -0 from 0 and a hole from undefined. */
function portrait(of: unknown): readonly unknown[] {
  if (Object.is(of, -0)) return ['-0'];
  if (typeof of === 'string') return ['string', JSON.stringify(of)];
  if (typeof of !== 'object' || of === null) return [typeof of, String(of)];
  const prototype: unknown = Object.getPrototypeOf(of);
  const name = prototype === null ? 'null' : of.constructor.name;
  if (isAnyArrayBuffer(of)) return [name, Buffer.from(of).toString('hex')];
  if (ArrayBuffer.isView(of)) return [name, Buffer.from(of.buffer, of.byteOffset, of.byteLength).toString('hex')];
  if (of instanceof Date) return [name, String(of.getTime())];
  if (of instanceof Map) return [name, ...[...of].map((entry) => entry.map(portrait))];
  if (of instanceof Set) return [name, ...[...of].map(portrait)];
  const length = Array.isArray(of) ? of.length : 0;
  return [name, length, ...Object.entries(of).map(([key, item]) => [portrait(key), portrait(item)])];
}

describe('the default codec', () => {
  it('gives back what it was given, in the same order, and writes it the same way again', () => {
    fc.assert(
      fc.property(value, (original) => {
        const bytes = defaultCodec.encode(original);
        const crossed = defaultCodec.decode(bytes);
        expect(portrait(crossed)).toStrictEqual(portrait(original));
        expect(Buffer.compare(defaultCodec.encode(crossed), bytes)).toBe(0);
      }),
      { numRuns: 1_500 },
    );
  }, 30_000);
});
