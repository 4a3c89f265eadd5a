import { describe, expect, it } from 'vitest';
import { memoryCodec } from '../../src/testing/index.js';

const roundTrip = (value: unknown): unknown => memoryCodec.decode(memoryCodec.encode(value));

describe('the memory codec', () => {
  it.each([
    ['undefined', undefined],
    ['a number that JSON cannot say', Number.NaN],
    ['a bigint', 2n ** 70n],
    ['nested plain data', { rows: [{ id: 1, at: new Date(0), tags: new Set(['a']), by: new Map([[1n, null]]) }] }],
    ['bytes', new Uint8Array([0, 127, 255])],
    ['a buffer', Buffer.from([0, 127, 255])],
    ['other typed arrays', new Float64Array([1.5, -0])],
    ['an array buffer', new Uint8Array([1, 2]).buffer],
  ])('carries %s', (_name, value) => {
    expect(roundTrip(value)).toStrictEqual(value);
  });

  it('carries cycles', () => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    const travelled = roundTrip(loop) as typeof loop;
    expect(travelled.self).toBe(travelled);
  });

  class Account {
    readonly balance = 1;
  }

  it.each([
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['a symbol as a name', { [Symbol('s')]: 1 }],
    ['an instance of a class', new Account()],
    ['an instance deep inside', { list: [new Map([['x', new Set([new Account()])]])] }],
    ['an instance as the key of a map', new Map([[new Account(), 1]])],
    ['an instance whose class is not known', Object.create(Object.create(null))],
    ['a subclass of an array', new (class extends Array {})()],
    ['an error', new Error('e')],
    ['a promise', Promise.resolve(1)],
  ])('refuses %s', (_name, value) => {
    expect(() => memoryCodec.encode(value)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_PAYLOAD' }));
  });
});
