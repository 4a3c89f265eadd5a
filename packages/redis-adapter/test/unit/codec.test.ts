import { runInNewContext } from 'node:vm';
import { PayloadError } from '@oneflight/core';
import { describe, expect, it } from 'vitest';
import { defaultCodec } from '../../src/codec.js';

function cross(value: unknown): unknown {
  return defaultCodec.decode(defaultCodec.encode(value));
}

/** A function of its own, so that a value which does travel shows in the assertion. */
function refusal(value: unknown): string {
  try {
    defaultCodec.encode(value);
    return 'it travelled';
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error;
    return error.message;
  }
}

const bytes = (length: number): number[] => Array.from({ length }, (_, index) => (index * 37) % 256);

function nest(depth: number): unknown {
  let value: unknown = 'bottom';
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

describe('a value that travels', () => {
  it.each([
    ['undefined', undefined],
    ['null', null],
    ['zero', 0],
    ['minus zero', -0],
    ['NaN', Number.NaN],
    ['Infinity', Infinity],
    ['-Infinity', -Infinity],
    ['the smallest number', Number.MIN_VALUE],
    ['a fraction', 0.1 + 0.2],
    ['an empty string', ''],
    ['lone surrogates', '\ud800x\udc00'],
    ['a NUL and separators', '\u0000\u2028\u2029</script>"\\'],
    ['true', true],
    ['a BigInt', -(2n ** 200n)],
    ['a Date', new Date('2024-02-29T12:00:00.123Z')],
    ['a Date before the year 0', new Date(-8.64e15)],
    ['an invalid Date', new Date(Number.NaN)],
    ['a RegExp', /a\/[b"]\n/dgimsuy],
    [
      'a Map',
      new Map<unknown, unknown>([
        [{ a: 1 }, new Set([1])],
        [Number.NaN, undefined],
        ['k', new Map()],
      ]),
    ],
    ['a Set', new Set([undefined, null, '', [1]])],
    ['an empty object', {}],
    ['an object without prototype', Object.assign(Object.create(null), { a: undefined, constructor: 1 })],
    ['an object with names of Object.prototype', { constructor: 1, toString: 2, hasOwnProperty: 3 }],
    ['an array that looks like an encoded type', ['Binary', 1, ['Map', 1, 2], -7]],
    ['an empty array', []],
    ['nothing but binary', new Uint8Array(bytes(9))],
    ['an empty Buffer', Buffer.alloc(0)],
    ['a small Buffer out of the pool', Buffer.from('seat')],
    ['an ArrayBuffer', new Uint8Array(bytes(5)).buffer],
    ['a DataView', new DataView(new Uint8Array(bytes(7)).buffer, 1, 5)],
    ['an Int8Array', Int8Array.from(bytes(4))],
    ['a Uint8ClampedArray', Uint8ClampedArray.from(bytes(4))],
    ['an Int16Array', Int16Array.from(bytes(4))],
    ['a Uint16Array', Uint16Array.from(bytes(4))],
    ['an Int32Array', Int32Array.from(bytes(4))],
    ['a Uint32Array', Uint32Array.from(bytes(4))],
    ['a Float32Array', Float32Array.of(1.5, -0, Number.NaN)],
    ['a Float64Array', Float64Array.of(1.5, -0, Infinity)],
    ['a BigInt64Array', BigInt64Array.of(-1n, 2n ** 62n)],
    ['a BigUint64Array', BigUint64Array.of(2n ** 64n - 1n)],
    [
      'binary among other things',
      {
        rows: [
          { id: 1, data: Buffer.from('a') },
          { id: 2, data: Buffer.from('b') },
        ],
        at: new Map([['x', new Uint16Array(2)]]),
      },
    ],
  ])('looks the same on the other side: %s', (_, value) => {
    const crossed = cross(value);
    expect(crossed).toStrictEqual(value);
    if (typeof value === 'object' && value !== null) expect(Object.getPrototypeOf(crossed)).toBe(Object.getPrototypeOf(value));
  });

  it('keeps the order of keys', () => {
    expect(Object.keys(cross({ b: 1, 7: 2, a: 3, [-1]: 4 }) as object)).toEqual(['7', 'b', 'a', '-1']);
  });

  it('keeps the holes of arrays, many or few', () => {
    const far: unknown[] = [];
    far[900_000] = 'far';
    const near: unknown[] = [1];
    near[2] = 3;
    for (const array of [near, Array(2), far]) {
      const crossed = cross(array) as unknown[];
      expect([crossed.length, Object.keys(crossed)]).toEqual([array.length, Object.keys(array)]);
    }
  });

  it('keeps what is the same the same, through cycles too', () => {
    const seat = { row: 7 };
    const blob = Buffer.from('blob');
    const value: Record<string, unknown> = { first: seat, second: seat, blob, again: [blob], map: new Map([[seat, seat]]) };
    value['self'] = value;
    const crossed = cross(value) as typeof value;
    expect(crossed['self']).toBe(crossed);
    expect(crossed['first']).toBe(crossed['second']);
    expect((crossed['again'] as unknown[])[0]).toBe(crossed['blob']);
    expect((crossed['map'] as Map<unknown, unknown>).get(crossed['first'])).toBe(crossed['first']);
  });

  it('carries only the visible bytes of a view, each view with bytes of its own', () => {
    const shared = new Uint8Array(bytes(1_000)).buffer;
    const [left, right] = cross([new Uint8Array(shared, 0, 2), new Uint16Array(shared, 2, 1)]) as [Uint8Array, Uint16Array];
    expect([left.buffer.byteLength, right.buffer.byteLength]).toEqual([2, 2]);
    expect(defaultCodec.encode(new Uint8Array(shared, 0, 2)).length).toBeLessThan(60);
  });

  it('holds nothing of the bytes it was decoded from', () => {
    const encoded = defaultCodec.encode(Buffer.from('seat'));
    const crossed = defaultCodec.decode(encoded) as Buffer;
    encoded.fill(0);
    expect(crossed.toString()).toBe('seat');
  });

  it('carries binary without base64', () => {
    expect(defaultCodec.encode({ blob: Buffer.alloc(100_000) }).length).toBeLessThan(100_100);
  });

  it('may come from another realm, as test runners make them', () => {
    const foreign: unknown = runInNewContext('({ rows: [new Map([[1, new Date(0)]]), /x/g, new Set([null]), new Uint8Array([1, 2])] })');
    expect(cross(foreign)).toStrictEqual({ rows: [new Map([[1, new Date(0)]]), /x/g, new Set([null]), Uint8Array.of(1, 2)] });
  });

  it('arrives with the values of its getters and without what is not enumerable', () => {
    const value = Object.defineProperty(
      {
        get sum() {
          return 3;
        },
      },
      'hidden',
      { value: 1, enumerable: false },
    );
    expect(Object.getOwnPropertyDescriptors(cross(value))).toEqual({
      sum: { value: 3, writable: true, enumerable: true, configurable: true },
    });
  });
});

describe('a value that cannot travel', () => {
  class Seat {
    row = 'hunter2';
  }
  class Rows extends Array<unknown> {}
  class Index extends Map {}
  class Bytes extends Uint8Array {}
  const nullClass = Object.create(Object.create(null, { inherited: { value: 1 } })) as object;
  class Disguised {
    get [Symbol.toStringTag](): string {
      return 'Map';
    }
  }
  const withProto = JSON.parse('{"__proto__": {"polluted": 1}}') as object;
  const sticky = /hunter2/g;
  sticky.lastIndex = 3;
  const endless: unknown[] = [];
  endless[4_000_000_000] = 1;

  it.each([
    ['a class instance', new Seat(), 'an object of type Seat'],
    ['one that says it is a Map', new Disguised(), 'an object of type Disguised'],
    ['an object with a prototype of its own', Object.create({ inherited: 1 }), 'an object of type Object'],
    ['one whose prototype has none', nullClass, 'an object of type null prototype'],
    ['an array of a class', Rows.of(1), 'an array'],
    ['a Map of a class', new Index(), 'an object of type Index'],
    ['a typed array of a class', new Bytes(1), 'an object of type Bytes'],
    ['an array with a name', Object.assign([1], { count: 1 }), 'an array with properties of its own'],
    ['a match', /(?<a>.)/.exec('hunter2'), 'an array with properties of its own'],
    ['an array with four billion holes', endless, 'an array with properties of its own'],
    ['a Map with a name', Object.assign(new Map(), { a: 1 }), 'an object of type Map'],
    ['a RegExp in use', sticky, 'a RegExp with a lastIndex'],
    ['a function', () => 'hunter2', 'a function'],
    ['a symbol', Symbol('hunter2'), 'a symbol'],
    ['a symbol key', { [Symbol('hunter2')]: 1 }, 'an object with symbol keys'],
    [
      'arguments',
      (function () {
        return arguments;
      })(),
      'an object with symbol keys',
    ],
    ['a Promise', Promise.resolve('hunter2'), 'an object of type Promise'],
    ['a method', { find: () => 'hunter2' }, 'a function'],
    ['a WeakMap', new WeakMap(), 'an object of type WeakMap'],
    ['an Error', new Error('hunter2'), 'an object of type Error'],
    ['a URL', new URL('https://hunter2.example'), 'an object of type URL'],
    ['a boxed number', Object(1), 'an object of type Number'],
    ['a SharedArrayBuffer', new SharedArrayBuffer(1), 'an object of type SharedArrayBuffer'],
    ['an own key __proto__', withProto, 'an object with an own key __proto__'],
  ])('is refused with its path and without its content: %s', (_, value, what) => {
    const message = refusal({ rows: [1, { 'seat map': value }] });
    expect(message).toContain('the value at .rows[1]["seat map"]');
    expect(message).toContain(`cannot travel to other replicas: it is ${what}`);
    expect(message).not.toContain('hunter2');
    expect(refusal(value)).toMatch(/^the value (at \.find )?cannot travel/);
  });

  it('is named without the keys of the Maps on the way, which are content', () => {
    for (const value of [new Seat(), () => 1, { [Symbol('s')]: 1 }]) {
      const message = refusal(new Map([['hunter2', [value]]]));
      expect(message).toMatch(/^the value at \.get\(\.\.\.\)\[0\] cannot travel/);
    }
  });

  it('is refused where reading it throws, without the words of that error', () => {
    const explode = (): never => {
      throw new Error('hunter2');
    };
    const trap = new Proxy({}, { get: () => explode });
    for (const value of [
      {
        get a() {
          return explode();
        },
      },
      new Proxy({}, trap),
      [new Proxy([], trap)],
    ]) {
      expect(refusal(value)).toContain('reading it threw an error');
      expect(refusal(value)).not.toContain('hunter2');
    }
  });

  it('is refused where it is nested too deeply', () => {
    expect(refusal(nest(100_000))).toContain('nested too deeply');
    expect(cross(nest(500))).toStrictEqual(nest(500));
  });

  it('does not harm the next one', () => {
    refusal(new Seat());
    expect(cross(new Map([['k', [1]]]))).toEqual(new Map([['k', [1]]]));
  });
});
