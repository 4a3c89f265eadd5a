import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Codec } from '../../src/codec.js';
import { decodeError, encodeError } from '../../src/error-codec.js';
import { LoadTimeoutError, RemoteLoadError } from '../../src/errors.js';

const text = { encoder: new TextEncoder(), decoder: new TextDecoder('utf-8', { fatal: true }) };

/** Carries JSON and undefined; throws for the rest, as a codec must. */
const codec: Codec = {
  encode(value) {
    const json = value === undefined ? 'undefined' : JSON.stringify(value);
    if (json === undefined) throw new TypeError('not JSON');
    return text.encoder.encode(json);
  },
  decode(bytes) {
    const json = text.decoder.decode(bytes);
    return json === 'undefined' ? undefined : JSON.parse(json);
  },
};

const decode = (bytes: Uint8Array): unknown => decodeError(bytes, { codec, flightId: 'inbox#7' });

function cross(error: unknown, stack = false): unknown {
  return decode(encodeError(error, { codec, stack }));
}

function crossError(error: unknown, stack = false): RemoteLoadError {
  const crossed = cross(error, stack);
  if (!(crossed instanceof RemoteLoadError)) throw new Error('expected a RemoteLoadError');
  return crossed;
}

const report = (json: unknown): Uint8Array => text.encoder.encode(`\u0001${typeof json === 'string' ? json : JSON.stringify(json)}`);

function chain(depth: number): Error {
  return depth === 0 ? new Error('0') : new Error(String(depth), { cause: chain(depth - 1) });
}

function chainOf(error: unknown): string[] {
  return error instanceof Error ? [error.message, ...chainOf(error.cause)] : [];
}

class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
  readonly code = 'E_NOT_FOUND';
  readonly status = 404;
  readonly statusCode = '404';
  readonly password = 'hunter2';
}

afterEach(() => {
  expect(Object.keys(Object.prototype)).toEqual([]);
});

describe('an Error that crosses', () => {
  it('comes back as a RemoteLoadError with the name, message, code and status of the original, and nothing else of it', () => {
    const error = crossError(new NotFoundError('no such seat'));
    expect(error).toBeInstanceOf(RemoteLoadError);
    expect(Object.fromEntries(Object.entries(error))).toEqual({
      name: 'NotFoundError',
      code: 'E_NOT_FOUND',
      status: 404,
      statusCode: '404',
      remote: true,
      flightId: 'inbox#7',
    });
    expect(error.message).toBe('no such seat');
  });

  it.each([
    ['Error', new Error('boom'), 'Error', 'ERR_ONEFLIGHT_REMOTE_LOAD'],
    ['TypeError', new TypeError('boom'), 'TypeError', 'ERR_ONEFLIGHT_REMOTE_LOAD'],
    ['a system error', Object.assign(new Error('boom'), { code: 'ECONNREFUSED' }), 'Error', 'ECONNREFUSED'],
    ['a numeric code', Object.assign(new Error('boom'), { code: 11000 }), 'Error', 11000],
    ['a code of another type', Object.assign(new Error('boom'), { code: { secret: 1 } }), 'Error', 'ERR_ONEFLIGHT_REMOTE_LOAD'],
    ['a code that is not a finite number', Object.assign(new Error('boom'), { code: Number.NaN }), 'Error', 'ERR_ONEFLIGHT_REMOTE_LOAD'],
    ['DOMException', new DOMException('boom', 'AbortError'), 'AbortError', 20],
    ['one of ours', new LoadTimeoutError(50, 'inbox#1'), 'LoadTimeoutError', 'ERR_ONEFLIGHT_LOAD_TIMEOUT'],
    ['a name that is no string', Object.assign(new Error('boom'), { name: 7 }), 'RemoteLoadError', 'ERR_ONEFLIGHT_REMOTE_LOAD'],
  ])('keeps name and code: %s', (_, original, name, code) => {
    const error = crossError(original);
    expect([error.name, error.code, error.message]).toEqual([name, code, original.message]);
  });

  it('may come from another realm, as test runners make them', () => {
    const foreign: unknown = runInNewContext('new AggregateError([new TypeError("inner")], "outer")');
    const error = crossError(foreign);
    expect([error.name, error.message, Reflect.get(error, 'errors')[0].name]).toEqual(['AggregateError', 'outer', 'TypeError']);
  });

  it('crosses a second time as it is', () => {
    const once = crossError(new NotFoundError('no such seat', { cause: new Error('no row') }));
    const twice = crossError(once);
    expect(Object.entries(twice)).toEqual(Object.entries(once));
    expect(chainOf(twice)).toEqual(['no such seat', 'no row']);
  });

  it('keeps its own stack only where that was asked for', () => {
    const original = new Error('boom');
    original.stack = 'Error: boom\n    at leader (/srv/leader.js:1:1)';
    expect(crossError(original).stack).not.toContain('/srv/leader.js');
    expect(crossError(original, true).stack).toBe(original.stack);
    expect(Object.keys(crossError(original, true))).not.toContain('stack');
  });

  it('is bounded in its message, also where that cuts a character in two', () => {
    expect(crossError(new Error('x'.repeat(100_000))).message).toBe('x'.repeat(16_384));
    expect(crossError(new Error(`x${'🎟'.repeat(10_000)}`)).message).toHaveLength(16_384);
  });
});

describe('causes and members', () => {
  it('cross as errors, eight causes deep', () => {
    const error = crossError(chain(20));
    expect(chainOf(error)).toEqual(['20', '19', '18', '17', '16', '15', '14', '13', '12']);
    expect(error.cause).toBeInstanceOf(RemoteLoadError);
  });

  it('are told once where an error causes itself', () => {
    const first = new Error('first');
    const second = new Error('second', { cause: first });
    first.cause = second;
    expect(chainOf(crossError(first))).toEqual(['first', 'second']);
  });

  it.each([[null], ['why'], [0], [{ row: 7 }], [['a', 'b']]])('cross through the codec if they are not errors: %j', (cause) => {
    expect(crossError(new Error('boom', { cause })).cause).toEqual(cause);
    expect(Reflect.get(crossError(new AggregateError([cause])), 'errors')).toEqual([cause]);
  });

  it.each([
    ['a function', () => 1],
    ['a BigInt', 1n],
    ['a large value', 'x'.repeat(20_000)],
    ['undefined', undefined],
  ])('are left out if they cannot travel: %s', (_, cause) => {
    const error = crossError(new Error('boom', { cause }));
    expect([error.message, Object.hasOwn(error, 'cause')]).toEqual(['boom', false]);
  });

  it('of an AggregateError are its errors, at most sixteen, and not enumerable', () => {
    const members = Array.from({ length: 40 }, (_, index) => new Error(String(index)));
    const error = crossError(new AggregateError(members, 'all failed'));
    const errors: Error[] = Reflect.get(error, 'errors');
    expect(errors.map((member) => member.message)).toEqual(members.slice(0, 16).map((member) => member.message));
    expect(errors.every((member) => member instanceof RemoteLoadError)).toBe(true);
    expect(Object.keys(error)).not.toContain('errors');
  });

  it('stay behind where the error is no AggregateError', () => {
    expect('errors' in crossError(Object.assign(new Error('invalid'), { errors: ['password hunter2 is too short'] }))).toBe(false);
  });

  it('are at most 64 errors in all', () => {
    const count = (error: unknown): number => {
      const members: unknown[] = error instanceof Error ? (Reflect.get(error, 'errors') ?? []) : [];
      return members.reduce<number>((sum, member) => sum + count(member), 1);
    };
    const wide = new AggregateError(Array.from({ length: 16 }, () => new AggregateError(Array(16).fill(new Error('x')))));
    expect(count(crossError(wide))).toBe(64);
  });

  it('are bounded in sum, so that errors of errors of errors do not multiply', () => {
    const nest = (depth: number): Error =>
      depth === 0
        ? new Error('x'.repeat(20_000))
        : new AggregateError(
            Array.from({ length: 16 }, () => nest(depth - 1)),
            'all',
          );
    const bytes = encodeError(nest(3), { codec, stack: true });
    expect(bytes.length).toBeLessThanOrEqual(524_288);
    expect(crossError(nest(3)).message).toBe('all');
  });
});

describe('a thrown value that is no Error', () => {
  const selfish: Record<string, unknown> = { secret: 'hunter2' };
  selfish['self'] = selfish;

  it.each([[undefined], [null], ['boom'], [''], [42], [false], [{ code: 'E', nested: [1] }]])('comes back as itself: %j', (value) => {
    expect(cross(value)).toEqual(value);
  });

  it.each([
    ['a function', () => 'hunter2', 'a function'],
    ['a symbol', Symbol('hunter2'), 'a symbol'],
    ['a BigInt', 1n, 'a bigint'],
    ['an object that holds itself', selfish, 'an object of type Object'],
  ])('comes back as a RemoteLoadError that says what was thrown if it cannot travel: %s', (_, value, type) => {
    const error = crossError(value);
    expect([error.code, error.message]).toEqual([
      'ERR_ONEFLIGHT_REMOTE_LOAD',
      `the loader threw ${type}, which cannot travel to other replicas. Throw an Error`,
    ]);
  });
});

describe('an error made to hurt', () => {
  const explode = (): never => {
    throw new Error('hunter2');
  };
  const trap = new Proxy({}, { get: () => explode });
  const withGetters = (): Error => {
    const error = new Error('boom');
    for (const name of ['stack', 'name', 'message', 'code', 'status', 'cause']) Object.defineProperty(error, name, { get: explode });
    return error;
  };
  const revoked = (): object => {
    const { proxy, revoke } = Proxy.revocable(new AggregateError([]), {});
    revoke();
    return proxy;
  };

  it.each([
    ['getters that throw', () => withGetters()],
    ['a proxy that throws at everything', () => new Proxy(new Error('boom'), trap)],
    ['a revoked proxy', () => revoked()],
    ['a revoked proxy as cause', () => new Error('boom', { cause: revoked() })],
    ['a revoked proxy as members', () => Object.defineProperty(new AggregateError([]), 'errors', { value: revoked() })],
    [
      'members without end',
      () =>
        Object.defineProperty(new AggregateError([]), 'errors', {
          value: new Proxy([], { get: (_, key) => (key === 'length' ? Infinity : new Error('more')) }),
        }),
    ],
    [
      'a hostile toString',
      () =>
        Object.assign(new Error('boom'), {
          name: { toString: explode },
          message: { toString: explode },
          toString: explode,
          toJSON: explode,
        }),
    ],
    [
      'a cause that is a new error each time',
      () =>
        Object.defineProperty(new Error('boom'), 'cause', {
          get: function endless() {
            return Object.defineProperty(new Error('boom'), 'cause', { get: endless });
          },
        }),
    ],
    [
      'a hostile value',
      () => ({
        get constructor() {
          return explode();
        },
        toJSON: explode,
      }),
    ],
  ])('is encoded all the same: %s', (_, make) => {
    const crossed = crossError(make(), true);
    expect(crossed.code).toBe('ERR_ONEFLIGHT_REMOTE_LOAD');
    expect(crossed.message).not.toContain('hunter2');
  });

  it('is encoded all the same by a codec that breaks its contract', () => {
    const broken = { encode: () => 'no bytes', decode: explode } as unknown as Codec;
    for (const error of [new Error('boom', { cause: 1 }), 'thrown']) {
      const crossed = decodeError(encodeError(error, { codec: broken }), { codec: broken, flightId: undefined });
      expect(crossed).toBeInstanceOf(RemoteLoadError);
    }
  });
});

describe('bytes made to hurt', () => {
  const nested = (depth: number): object => (depth === 0 ? { message: 'm' } : { message: 'm', cause: { report: nested(depth - 1) } });

  it.each([
    ['none', new Uint8Array()],
    ['an unknown tag', Uint8Array.of(9, 1, 2)],
    ['a tag alone', Uint8Array.of(1)],
    ['no JSON', report('{')],
    ['no UTF-8', Uint8Array.of(1, 0x22, 0xff, 0x22)],
    ['an array', report([])],
    ['null', report('null')],
    ['no message', report({ name: 'x' })],
    ['a message of another type', report({ message: {} })],
    ['a message too long', report({ message: 'x'.repeat(16_385) })],
    ['a report too long', report({ message: '', name: 'x'.repeat(600_000) })],
    ['a name of another type', report({ message: '', name: { toString: 1 } })],
    ['a code of another type', report({ message: '', code: [] })],
    ['a cause of another type', report({ message: '', cause: 7 })],
    ['too many causes', report(nested(9))],
    ['JSON nested deeply', report(`${'{"message":"","cause":{"report":'.repeat(10_000)}{}${'}}'.repeat(10_000)}`)],
    ['too many members', report({ message: '', errors: Array(17).fill({ report: { message: '' } }) })],
    ['members of another type', report({ message: '', errors: { length: 1 } })],
    ['a thrown value that the codec refuses', Uint8Array.of(2, 0xff)],
  ])('give an error that says it could not be read: %s', (_, bytes) => {
    const error = decode(bytes);
    expect(error).toBeInstanceOf(RemoteLoadError);
    expect(error).toMatchObject({
      flightId: 'inbox#7',
      code: 'ERR_ONEFLIGHT_REMOTE_LOAD',
      message: expect.stringContaining('could not be read'),
    });
  });

  it('cannot reach a prototype', () => {
    const error = decode(report('{"message":"m","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'));
    expect([Object.getPrototypeOf(error), Reflect.get({}, 'polluted'), Object.keys(error as object)]).toEqual([
      RemoteLoadError.prototype,
      undefined,
      ['code', 'name', 'remote', 'flightId'],
    ]);
  });

  it('cannot take a field from what objects inherit', () => {
    Object.defineProperty(Object.prototype, 'cause', { value: { report: { message: 'inherited' } }, configurable: true });
    const error = decode(report({ message: 'm' }));
    Reflect.deleteProperty(Object.prototype, 'cause');
    expect(error).toMatchObject({ message: 'm' });
    expect(Object.hasOwn(error as object, 'cause')).toBe(false);
  });

  it('never make decodeError throw', () => {
    const good = encodeError(new AggregateError([chain(3), 'x'], 'all', { cause: new NotFoundError('no') }), { codec, stack: true });
    const mutated = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }).map((edits) => {
      const bytes = good.slice();
      for (const [at, byte] of edits) bytes[at] = byte;
      return bytes;
    });
    const cut = fc.nat(good.length).map((length) => good.subarray(0, length));
    const json = fc.json().map((value) => report(value));
    const fields = fc.record(
      {
        message: fc.string(),
        name: fc.anything(),
        code: fc.anything(),
        cause: fc.anything(),
        errors: fc.anything(),
        ['__proto__']: fc.anything(),
      },
      { requiredKeys: ['message'] },
    );
    const shaped = fields.map((value) => report(JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? 0 : part))));
    const bytes = fc.oneof(mutated, cut, json, shaped, fc.uint8Array({ maxLength: 200 }));
    fc.assert(
      fc.property(bytes, (hostile) => {
        const error = decode(hostile);
        return hostile[0] === 2 || error instanceof RemoteLoadError;
      }),
      { numRuns: 3_000 },
    );
  });
});
