import { Buffer } from 'node:buffer';
import { isAnyArrayBuffer, isDate, isMap, isRegExp, isSet } from 'node:util/types';
import { type Codec, describe, PayloadError } from '@oneflight/core';
import { defaultParseOperations, DevalueError, parse, type ParseOperations, stringify, type StringifyOperations } from 'devalue';

/**
 * How values travel by default. What comes out on another replica looks like what went in: primitives (also `undefined`,
 * `-0`, `NaN`, BigInt), plain objects, arrays with their holes, Date, RegExp, Map, Set, Buffer, typed arrays, DataView and
 * ArrayBuffer, with key order, repeated references and cycles. Getters arrive as the values they gave; views that shared
 * one ArrayBuffer arrive with one each; what is not enumerable stays behind.
 *
 * `encode` throws a `PayloadError` for all that cannot look the same again: class instances, functions, symbols, promises,
 * errors, an own key `__proto__`, arrays with properties of their own. Its message names the path, never the content.
 * `decode` throws a `PayloadError` for bytes that `encode` did not make; it runs nothing, and the memory it takes is
 * bounded by a small multiple of the bytes that came.
 */
export const defaultCodec: Codec = { encode, decode };

/*
 * On the wire, all numbers little-endian:
 *   u8 format | u32 segments | per segment: u8 kind, u32 length | structure, in UTF-8 | the segments, raw
 * The structure is devalue's text, in which ["Binary", n] stands for the segment numbered n, from 1.
 */
const FORMAT = 1;
const HEAD_BYTES = 5;
const ENTRY_BYTES = 5;

/** The position is the byte on the wire: only append. Float16Array is not in every supported Node. */
const KINDS = [
  'Buffer',
  'ArrayBuffer',
  'DataView',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
] as const;

/** An array may have this many holes: whoever walks the array walks them, and a few bytes could claim four billion. */
const HOLES_MAX = 1_048_576;
const PATH_LENGTH_MAX = 256;

interface Segment {
  readonly kind: number;
  readonly bytes: Uint8Array;
}

function encode(value: unknown): Uint8Array {
  const segments: Segment[] = [];
  try {
    const structure = stringify(value, { Binary: (thing: unknown) => addSegment(thing, segments) }, { operations: inspection() });
    return assemble(structure, segments);
  } catch (error) {
    throw untravelable(error);
  }
}

/** Returns the number that stands for binary data in the structure, `undefined` for what is not binary. */
function addSegment(thing: unknown, segments: Segment[]): number | undefined {
  if (typeof thing !== 'object' || thing === null) return undefined;
  const isView = ArrayBuffer.isView(thing);
  if (!isView && !isAnyArrayBuffer(thing)) return undefined;
  const kind = kindOf(thing);
  if (kind === -1) return undefined;
  const bytes = isView ? new Uint8Array(thing.buffer, thing.byteOffset, thing.byteLength) : new Uint8Array(thing);
  return segments.push({ kind, bytes });
}

function kindOf(binary: object): number {
  const prototype: unknown = Object.getPrototypeOf(binary);
  if (prototype === Buffer.prototype) return KINDS.indexOf('Buffer');
  const name = Object.prototype.toString.call(binary).slice(8, -1);
  return isBuiltin(prototype, name) ? KINDS.findIndex((kind) => kind === name) : -1;
}

function assemble(structure: string, segments: readonly Segment[]): Uint8Array {
  const structureStart = HEAD_BYTES + segments.length * ENTRY_BYTES;
  const structureBytes = Buffer.byteLength(structure);
  const segmentBytes = segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const target = Buffer.allocUnsafe(structureStart + structureBytes + segmentBytes);
  target.writeUInt8(FORMAT, 0);
  target.writeUInt32LE(segments.length, 1);
  target.write(structure, structureStart);
  let entry = HEAD_BYTES;
  let start = structureStart + structureBytes;
  for (const { kind, bytes } of segments) {
    target.writeUInt8(kind, entry);
    target.writeUInt32LE(bytes.length, entry + 1);
    target.set(bytes, start);
    entry += ENTRY_BYTES;
    start += bytes.length;
  }
  return target;
}

/**
 * How devalue is to look at a value: by what it is, not by what it says it is, and refusing what devalue would change
 * without a word (subclasses, properties of arrays, boxed primitives).
 */
function inspection(): Partial<StringifyOperations> {
  // Once something is refused, devalue asks only in order to write the path: keys of Maps are content, so it gets "...".
  let refused = false;
  return {
    typeOf(value: unknown) {
      if (refused) return 'object';
      const type = value === null ? 'null' : typeof value;
      refused = type === 'function' || type === 'symbol';
      return type;
    },
    // Promises are refused as what they are; an object with a function `then` is refused for the function.
    isThenable: () => false,
    tagOf(value: object) {
      const tag = tagOf(value);
      refused = tag === undefined;
      return tag ?? 'refused';
    },
    shapeOf(value: object) {
      refused ||= hasSymbol(value) || Object.hasOwn(value, '__proto__');
      if (refused) return { kind: 'not-plain' };
      return { kind: Object.getPrototypeOf(value) === null ? 'null-proto' : 'plain', keys: Object.keys(value) };
    },
  };
}

function tagOf(value: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return 'Object';
  if (Array.isArray(value)) return isBuiltin(prototype, 'Array') && holdsItemsOnly(value) ? 'Array' : undefined;
  const tag = brandOf(value);
  if (!isBuiltin(prototype, tag)) return undefined;
  if (tag === 'Object') return tag;
  // `lastIndex` is the one own property of a RegExp, and the structure has no place for it.
  if (tag === 'RegExp' && isRegExp(value) && value.lastIndex !== 0) return undefined;
  return Reflect.ownKeys(value).length === (tag === 'RegExp' ? 1 : 0) ? tag : undefined;
}

function brandOf(value: object): string {
  if (isMap(value)) return 'Map';
  if (isSet(value)) return 'Set';
  if (isDate(value)) return 'Date';
  return isRegExp(value) ? 'RegExp' : 'Object';
}

/** Whether a prototype is that of a built-in class, of this realm or another (test runners give modules their own). */
function isBuiltin(prototype: unknown, name: string): boolean {
  if (typeof prototype !== 'object' || prototype === null || !Object.hasOwn(prototype, 'constructor')) return false;
  const constructor: unknown = Reflect.get(prototype, 'constructor');
  if (typeof constructor !== 'function') return false;
  if (constructor === Reflect.get(globalThis, name)) return Reflect.get(constructor, 'prototype') === prototype;
  return Function.prototype.toString.call(constructor) === `function ${name}() { [native code] }`;
}

function holdsItemsOnly(array: readonly unknown[]): boolean {
  // Own keys list indices first, so the last one tells whether there is anything else.
  const keys = Object.keys(array);
  const last = keys.at(-1);
  if (last !== undefined && !(/^\d+$/.test(last) && Number(last) < array.length)) return false;
  return array.length - keys.length <= HOLES_MAX;
}

/** Hidden symbols are bookkeeping of libraries and stay behind, except the one that makes `arguments` iterable. */
function hasSymbol(value: object): boolean {
  const symbols = Object.getOwnPropertySymbols(value);
  if (symbols.length === 0) return false;
  return symbols.some((symbol) => symbol === Symbol.iterator || Object.prototype.propertyIsEnumerable.call(value, symbol));
}

function untravelable(error: unknown): PayloadError {
  const advice = 'Return plain data from the loader, or pass a codec';
  if (error instanceof DevalueError) {
    const at = error.path === '' ? 'the value' : `the value at ${error.path.slice(0, PATH_LENGTH_MAX)}`;
    return new PayloadError(`${at} cannot travel to other replicas: it is ${nameRefused(error.value)}. ${advice}`);
  }
  const why = error instanceof RangeError ? 'it is nested too deeply or too large' : 'reading it threw an error';
  return new PayloadError(`the value cannot travel to other replicas: ${why}. ${advice}`);
}

function nameRefused(value: unknown): string {
  try {
    if (Array.isArray(value)) return `an array with properties of its own, of a class of its own, or with more than ${HOLES_MAX} holes`;
    if (typeof value !== 'object' || value === null) return describe(value);
    if (Object.hasOwn(value, '__proto__')) return 'an object with an own key __proto__';
    if (hasSymbol(value)) return 'an object with symbol keys';
    if (isRegExp(value)) return 'a RegExp with a lastIndex or properties of its own';
    return describe(value);
  } catch {
    return 'an object that cannot be looked at';
  }
}

function decode(bytes: Uint8Array): unknown {
  try {
    const { structure, segments } = disassemble(bytes);
    const value: unknown = parse(
      structure,
      { Binary: (number: unknown) => takeSegment(number, segments), BigInt: readBigInt },
      { operations: construction(structure.length) },
    );
    if (segments.some((segment) => segment !== undefined)) throw odd('binary data that nothing refers to');
    return value;
  } catch (error) {
    if (error instanceof PayloadError) throw error;
    // The cause would quote the content.
    throw odd(error instanceof RangeError ? 'lengths or nesting out of range' : 'a malformed structure');
  }
}

function odd(what: string): PayloadError {
  return new PayloadError(
    `the bytes received are not an encoded value: they hold ${what}. Look for replicas with another version or codec, or for somebody else who writes to this Redis`,
  );
}

interface Parts {
  readonly structure: string;
  /** Number n is at n - 1, and `undefined` once taken. */
  readonly segments: (Segment | undefined)[];
}

function disassemble(bytes: Uint8Array): Parts {
  if (bytes.length < HEAD_BYTES || bytes[0] !== FORMAT) throw odd('no header, or one of an unknown format');
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = header.getUint32(1, true);
  const structureStart = HEAD_BYTES + count * ENTRY_BYTES;
  if (structureStart >= bytes.length) throw odd('fewer bytes than their header says');
  const lengths = Array.from({ length: count }, (_, index) => header.getUint32(HEAD_BYTES + index * ENTRY_BYTES + 1, true));
  const structureEnd = bytes.length - lengths.reduce((sum, length) => sum + length, 0);
  if (structureEnd <= structureStart) throw odd('fewer bytes than their header says');
  let end = structureEnd;
  const segments = lengths.map((length, index) => ({
    kind: header.getUint8(HEAD_BYTES + index * ENTRY_BYTES),
    bytes: bytes.subarray(end, (end += length)),
  }));
  return { structure: utf8.decode(bytes.subarray(structureStart, structureEnd)), segments };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Each segment is given out once: else a few bytes of structure could ask for a large one many times. */
function takeSegment(number: unknown, segments: (Segment | undefined)[]): unknown {
  const index = typeof number === 'number' ? number - 1 : -1;
  const segment = segments[index];
  if (segment === undefined) throw odd('a reference to binary data that is not there');
  segments[index] = undefined;
  // A copy of its own: views need their alignment, and nobody may hold, or write to, the whole payload.
  const buffer = new Uint8Array(segment.bytes).buffer;
  const kind = KINDS[segment.kind];
  if (kind === 'ArrayBuffer') return buffer;
  if (kind === 'Buffer') return Buffer.from(buffer);
  const constructor: unknown = kind === undefined ? undefined : Reflect.get(globalThis, kind);
  if (typeof constructor !== 'function') throw odd('binary data of a kind unknown here');
  return Reflect.construct(constructor, [buffer]);
}

function readBigInt(digits: unknown): bigint {
  if (typeof digits !== 'string' || !/^-?\d+$/.test(digits)) throw odd('a malformed BigInt');
  return BigInt(digits);
}

/** What devalue may build: only what `encode` can have written, and nothing larger than the input justifies. */
function construction(structureLength: number): Partial<ParseOperations> {
  const never = (): never => {
    throw odd('a type that is never sent');
  };
  return {
    fromISOString: readDate,
    fromRegExpInfo: readRegExp,
    createSparseArray(length: number) {
      if (length > HOLES_MAX + structureLength) throw odd('an array with too many holes');
      const sparse: unknown[] = defaultParseOperations.createSparseArray(length);
      return sparse;
    },
    box: never,
    fromStringValue: never,
    // No view either: devalue wants one of these below it.
    fromArrayBuffer: never,
  };
}

function readDate(text: unknown): Date {
  if (typeof text !== 'string') throw odd('a malformed Date');
  const date = new Date(text);
  if (text !== '' && date.toISOString() !== text) throw odd('a malformed Date');
  return date;
}

function readRegExp(source: unknown, flags: unknown): RegExp {
  if (typeof source !== 'string' || (flags !== undefined && typeof flags !== 'string')) throw odd('a malformed RegExp');
  return new RegExp(source, flags);
}
