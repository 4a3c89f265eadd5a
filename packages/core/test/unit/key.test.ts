import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalKey, hashKey, KEY_LENGTH_MAX, type Key } from '../../src/key.js';

describe('a key', () => {
  it('is the same whatever the order of its properties', () => {
    expect(canonicalKey({ b: 1, a: 'x' })).toBe(canonicalKey({ a: 'x', b: 1 }));
    expect(canonicalKey(Object.assign(Object.create(null), { a: 1 }))).toBe(canonicalKey({ a: 1 }));
  });

  it('keeps types, shapes and boundaries apart', () => {
    const keys: Key[] = [
      '1',
      ['1'],
      [1],
      [1n],
      [true],
      ['true'],
      [null],
      ['null'],
      ['1n'],
      ['a', 'b'],
      ['a,b'],
      ['a,1"b'],
      ['1"a', 'b'],
      ['a', '1"b'],
      ['a]'],
      ['', '1'],
      ['', 1],
      ['a","b'],
      ['ab'],
      { a: 1 },
      { a: '1' },
      { a: [1] },
      { a: [[1].join()] },
      { a: 1, b: 2 },
      { 'a,1': 2 },
      { a: 1, 'b,2': 2 },
      { a: ['1', '2'] },
      { a: ['1,1"2'] },
      ['a', 1],
      [['a', 1].join()],
      '[1]',
      'a[1]',
      's1',
      '\u0001s1',
      '\u0001a[1]',
      '\u0001\u0001s1',
      'o["a",1]',
      '\ud800',
      '\ud801',
      '\ufffd',
      ['\ud800'],
      ['\ufffd'],
      ['a', 'b', ''],
      [0.1],
      [1e21],
    ];
    expect(new Set(keys.map(canonicalKey)).size).toBe(keys.length);
    expect(new Set(keys.map((key) => hashKey('default', canonicalKey(key)))).size).toBe(keys.length);
  });

  it('is different in another namespace, also where namespace and key run together', () => {
    expect(hashKey('a', 'sb')).not.toBe(hashKey('as', 'b'));
    expect(hashKey('a', 'sb')).toMatch(/^[\w-]{43}$/);
  });

  it('is equal exactly when its parts are', () => {
    const part = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.bigInt(),
      fc.boolean(),
      fc.constant(null),
    );
    const same = (a: unknown, b: unknown): boolean => a === b;
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), fc.array(part, { minLength: 1, maxLength: 4 }), (a, b) => {
        const equal = a.length === b.length && a.every((item, index) => same(item, b[index]));
        return equal === (canonicalKey(a) === canonicalKey(b));
      }),
      { numRuns: 2_000 },
    );
  }, 30_000);

  const cyclic: unknown[] = ['a'];
  cyclic.push(cyclic);
  const bad: [string, unknown, string][] = [
    [
      'an empty string',
      '',
      'expected a key: a non-empty string, a non-empty array of key parts, or a non-empty object of them, got an empty string',
    ],
    ['an empty array', [], 'got an array of length 0'],
    ['an empty object', {}, 'got an object of type Object'],
    ['a number', 7, 'got the number 7'],
    ['undefined', undefined, 'got undefined'],
    ['null', null, 'got null'],
    ['a function', () => 1, 'got a function'],
    ['a Date', new Date(0), 'got an object of type Date'],
    ['a Map', new Map(), 'got an object of type Map'],
    ['a missing part', ['user', undefined], 'expected key[1] to be a string, finite number, bigint, boolean or null, got undefined'],
    ['a missing property', { user: undefined }, 'expected key.user to be a string, finite number, bigint, boolean or null, got undefined'],
    ['NaN', ['user', Number.NaN], 'expected key[1] to be a string, finite number, bigint, boolean or null, got the number NaN'],
    ['an array in an array', [['a']], 'expected key[0] to be a string, finite number, bigint, boolean or null, got an array of length 1'],
    [
      'an object in an object',
      { a: { b: 1 } },
      'expected key.a to be a string, finite number, bigint, boolean or null, got an object of type Object',
    ],
    ['a cycle', cyclic, 'expected key[1] to be a string, finite number, bigint, boolean or null, got an array of length 2'],
    ['a hole', [, 'a'], 'expected key[0] to be a string, finite number, bigint, boolean or null, got undefined'],
    [
      'one that is far too long',
      'x'.repeat(KEY_LENGTH_MAX + 1),
      `expected a key of at most ${KEY_LENGTH_MAX} characters; hash large content into the key, got ${KEY_LENGTH_MAX + 1} characters`,
    ],
  ];
  it.each(bad)('that is %s is refused with a clear error', (_, key, message) => {
    const refused = expect(() => canonicalKey(key as Key));
    refused.toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_ONEFLIGHT_KEY', message: expect.stringContaining(message) }));
  });

  it('never shows in an error, because it may be secret', () => {
    expect(() => canonicalKey({ token: ['hunter2', Symbol('s') as unknown as string] })).not.toThrow(/hunter2/);
  });
});
