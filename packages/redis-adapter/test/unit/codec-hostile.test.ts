import { PayloadError } from '@oneflight/core';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultCodec } from '../../src/codec.js';

const RUNS = 30_000;

interface Forged {
  readonly format?: number;
  readonly count?: number;
  readonly entries?: readonly (readonly [kind: number, length: number])[];
  readonly tail?: Uint8Array;
}

/** Bytes as `encode` lays them out, with any part of them forged. */
function forge(structure: string, { format = 1, entries = [], count = entries.length, tail = new Uint8Array() }: Forged = {}): Uint8Array {
  const head = Buffer.alloc(5 + entries.length * 5);
  head.writeUInt8(format, 0);
  head.writeUInt32LE(count, 1);
  for (const [index, [kind, length]] of entries.entries()) {
    head.writeUInt8(kind, 5 + index * 5);
    head.writeUInt32LE(length, 6 + index * 5);
  }
  return Buffer.concat([head, Buffer.from(structure), tail]);
}

/** What decoding gave; anything thrown but a PayloadError escapes and fails the test. */
function attempt(bytes: Uint8Array): { readonly value: unknown } | { readonly refused: string } {
  try {
    return { value: defaultCodec.decode(bytes) };
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error;
    return { refused: error.message };
  }
}

/** Decodes, and returns how many bytes of heap and of buffers the result holds, per byte that came. */
function growth(bytes: Uint8Array): number {
  const used = (): number => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  const before = used();
  const kept = attempt(bytes);
  const grown = used() - before;
  return kept === undefined ? 0 : grown / bytes.length;
}

const prototypes = [Object.prototype, Array.prototype, Map.prototype, Function.prototype];
const namesBefore = prototypes.map((prototype) => Reflect.ownKeys(prototype));

afterEach(() => {
  expect(prototypes.map((prototype) => Reflect.ownKeys(prototype))).toEqual(namesBefore);
});

describe('bytes that encode did not make', () => {
  const eight = new Uint8Array(8);

  it.each([
    ['none', new Uint8Array()],
    ['four', Uint8Array.of(1, 0, 0, 0)],
    ['a header alone', forge('')],
    ['an unknown format', forge('[1]', { format: 2 })],
    ['four billion segments', forge('[1]', { count: 4_294_967_295 })],
    ['one segment too many', forge('[1]', { count: 1 })],
    ['a segment of four gigabytes', forge('[["Binary",1],1]', { entries: [[0, 4_294_967_295]], tail: eight })],
    [
      'segments that sum up to too much',
      forge('[["Binary",1],1]', { entries: Array.from({ length: 9 }, () => [0, 1] as const), tail: eight }),
    ],
    ['a segment that swallows the structure', forge('[1]', { entries: [[0, 3]] })],
    ['a segment that nothing refers to', forge('[1]', { entries: [[0, 8]], tail: eight })],
    ['a segment asked for twice', forge('[[1,3],["Binary",2],1,["Binary",4],1]', { entries: [[0, 8]], tail: eight })],
    ['a segment that is not there', forge('[["Binary",1],2]', { entries: [[0, 8]], tail: eight })],
    ['segment zero', forge('[["Binary",1],0]', { entries: [[0, 8]], tail: eight })],
    ['a segment numbered by a name', forge('[["Binary",1],"length"]', { entries: [[0, 8]], tail: eight })],
    ['a segment numbered by an object', forge('[["Binary",1],{}]', { entries: [[0, 8]], tail: eight })],
    ['a segment numbered by itself', forge('[["Binary",0]]', { entries: [[0, 8]], tail: eight })],
    ['an unknown kind', forge('[["Binary",1],1]', { entries: [[200, 8]], tail: eight })],
    ['a kind whose items do not fit', forge('[["Binary",1],1]', { entries: [[11, 7]], tail: eight.subarray(1) })],
    ['no UTF-8', forge('["', { tail: Uint8Array.of(0xff, 0x22, 0x5d) })],
    ['no JSON', forge('[1')],
    ['a number that stands for nothing', forge('7')],
    ['a string', forge('"x"')],
    ['an object', forge('{}')],
    ['an empty list', forge('[]')],
    ['a reference out of range', forge('[[5]]')],
    ['a reference that is no number', forge('[["x"]]')],
    ['an unknown type', forge('[["Function","return process"]]')],
    ['a URL', forge('[["URL","http://x"]]')],
    ['a Temporal', forge('[["Temporal.Instant","x"]]')],
    ['a boxed value', forge('[["Object",1],1]')],
    ['an ArrayBuffer in base64', forge('[["ArrayBuffer","AAAA"]]')],
    ['a view on base64', forge('[["Uint8Array",1],["ArrayBuffer","AAAA"]]')],
    ['a view on a length', forge('[["Float64Array",1],1000000000]')],
    ['a view on a revived segment', forge('[["Float64Array",1],["Binary",2],1]', { entries: [[1, 8]], tail: eight })],
    ['a Date that is none', forge('[["Date","x"]]')],
    ['a Date in other words', forge('[["Date","1 January 2020"]]')],
    ['a Date from a number', forge('[["Date",0]]')],
    ['a RegExp that is none', forge('[["RegExp","("]]')],
    ['a RegExp with unknown flags', forge('[["RegExp","a","gg"]]')],
    ['a RegExp from an object', forge('[["RegExp",{"source":"a"}]]')],
    ['a BigInt in hexadecimal', forge('[["BigInt","0xff"]]')],
    ['an empty BigInt', forge('[["BigInt",""]]')],
    ['a BigInt from an array', forge('[["BigInt",["1"]]]')],
    ['a Map with half an entry', forge('[["Map",1],1]')],
    ['an own key __proto__', forge('[{"__proto__":1},{"polluted":2},1]')],
    ['an own key __proto__ without prototype', forge('[["null","__proto__",1],{}]')],
    ['a key that is no string', forge('[["null",1,1],1]')],
    ['four billion holes', forge('[[-7,4294967295]]')],
    ['more holes than are allowed', forge('[[-7,1100000]]')],
    ['a length that is none', forge('[[-7,-1]]')],
    ['a length that is too long', forge('[[-7,4294967296]]')],
    ['an item behind the end', forge('[[-7,3,3,1],1]')],
    ['an item at a name', forge('[[-7,3,"__proto__",1],{}]')],
  ])('are refused: %s', (_, bytes) => {
    expect(attempt(bytes)).toEqual({ refused: expect.stringMatching(/^the bytes received are not an encoded value: they hold /) });
  });

  it('are refused for their lengths before anything is made of them', () => {
    const lying: readonly Forged[] = [
      { count: 4_294_967_295 },
      { count: 30_000_000 },
      { entries: [[0, 4_294_967_295]] },
      { entries: [[0, 3]] },
      { entries: Array.from({ length: 2 }, () => [0, 2_147_483_648] as const) },
    ];
    for (const forged of lying)
      expect(attempt(forge('[1]', forged))).toEqual({ refused: expect.stringContaining('fewer bytes than their header says') });
  });

  it('are refused without quoting them', () => {
    for (const structure of ['hunter2', '[["hunter2",1]]', '[["RegExp","(hunter2"]]', '[["Date","hunter2"]]']) {
      expect(attempt(forge(structure))).toEqual({ refused: expect.not.stringContaining('hunter2') });
    }
  });

  it('are refused where they are nested too deeply', () => {
    const deep = Array.from({ length: 200_000 }, (_, index) => `[${index + 1}]`).join(',');
    const maps = Array.from({ length: 200_000 }, (_, index) => `["Map",${index + 1},${index + 1}]`).join(',');
    for (const structure of [`[${deep},1]`, `[${maps},1]`, `${'['.repeat(500_000)}${']'.repeat(500_000)}`]) {
      expect(attempt(forge(structure))).toEqual({ refused: expect.stringContaining('they hold') });
    }
  });

  it('take no more memory than a small multiple of their own', () => {
    const list = (item: string): string =>
      `[[${Array.from({ length: 50_000 }, (_, index) => index + 1).join(',')}],${Array(50_000).fill(item).join(',')}]`;
    const allowed = [list('[-7,1000000]'), list('[-7,1000000,999999,-1]'), list('{}'), list('["Map"]'), list('[-2,-2,-2]')];
    for (const structure of allowed) expect(growth(forge(structure))).toBeLessThan(100);
    const entries = Array.from({ length: 20_000 }, () => [4, 0] as const);
    const views = entries.map((_, index) => `["Binary",${index + 20_001}]`).join(',');
    const numbers = entries.map((_, index) => index + 1).join(',');
    expect(growth(forge(`[[${numbers}],${views},${numbers}]`, { entries }))).toBeLessThan(100);
  });

  it('decode to data or are refused, whatever they are', () => {
    const samples = [
      { rows: [{ id: 1n, at: new Date(0), tags: new Set(['a']), blob: Buffer.from('seat') }], index: new Map([[1, /x/g]]) },
      [undefined, Number.NaN, -0, Array(2), new Float64Array(2), 'text', Object.create(null)],
    ].map((value) => defaultCodec.encode(value));
    const sample = fc.constantFrom(...samples);
    const mutated = fc.tuple(sample, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 4 })).map(([bytes, edits]) => {
      const copy = new Uint8Array(bytes);
      for (const [at, byte] of edits) copy[at % copy.length] = byte;
      return copy;
    });
    const token = fc.constantFrom(
      '[',
      ']',
      ',',
      '{',
      '}',
      '"__proto__":',
      '"Map"',
      '"Set"',
      '"null"',
      '"Binary"',
      '"BigInt"',
      '"Object"',
      '-7',
      '-2',
      '-1',
      '0',
      '1',
      '2',
      '4294967295',
      '"constructor"',
    );
    const structure = fc.array(token, { maxLength: 20 }).map((tokens) => forge(`[${tokens.join('')}]`));
    const reference = fc.integer({ min: -8, max: 9 });
    const tag = fc.constantFrom('Map', 'Set', 'null', 'Binary', 'BigInt', 'Date', 'Object', 'RegExp', 'Uint8Array', '__proto__');
    const members = fc.array(reference, { maxLength: 4 });
    const cell = fc.oneof(
      fc.constantFrom<unknown>('', 'text', 7, null, true),
      members,
      fc.tuple(tag, members).map(([name, rest]) => [name, ...rest]),
      fc.dictionary(fc.constantFrom('a', '__proto__', 'constructor', 'prototype'), reference, { noNullPrototype: true }),
    );
    const listed = fc.array(cell, { minLength: 9, maxLength: 9 }).map((list) => forge(JSON.stringify(list)));
    const hostile = fc.oneof(mutated, structure, listed, fc.uint8Array({ maxLength: 64 }));
    let refused = 0;
    fc.assert(
      fc.property(hostile, (bytes) => {
        if ('refused' in attempt(bytes)) refused += 1;
        return Reflect.get({}, 'polluted') === undefined && Object.keys(Object.prototype).length === 0;
      }),
      { numRuns: RUNS },
    );
    // Both ends were reached: otherwise the generators say nothing.
    expect([refused > RUNS / 20, refused < RUNS - RUNS / 20]).toEqual([true, true]);
  }, 30_000);
});
