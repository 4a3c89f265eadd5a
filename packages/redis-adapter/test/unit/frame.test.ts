import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeFrame, encodeFrame, type Frame } from '../../src/frame.js';

const FRAME: Frame = {
  kind: 'value',
  token: 1_700_000_000_000_001,
  expiresAt: 1_700_000_000_000,
  key: 'k',
  id: 'inbox#1',
  rawBytes: undefined,
  body: Buffer.from([0, 10, 255]),
};

const hex = (length: number) =>
  fc.uint8Array({ minLength: length / 2, maxLength: length / 2 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const traceparent = fc.tuple(hex(32), hex(16), hex(2)).map((parts) => `00-${parts.join('-')}`);

test('a frame comes out as it went in', () => {
  const text = fc.string({ maxLength: 255, unit: fc.integer({ min: 32, max: 126 }).map((code) => String.fromCharCode(code)) });
  const frame = fc.record({
    kind: fc.constantFrom('value', 'error'),
    token: fc.maxSafeNat(),
    expiresAt: fc.nat({ max: 2 ** 48 - 1 }),
    key: text,
    id: text,
    rawBytes: fc.option(fc.nat({ max: 2 ** 32 - 1 }), { nil: undefined }),
    trace: fc.option(traceparent, { nil: undefined }),
    body: fc.uint8Array({ maxLength: 100 }),
  });
  fc.assert(
    fc.property(frame, fc.boolean(), (given, isSigned) => {
      const signature = Buffer.alloc(isSigned ? 32 : 0, 7);
      const decoded = decodeFrame(Buffer.concat([encodeFrame(given, isSigned), signature]));
      if (decoded.kind === 'rejected') throw new Error(decoded.reason);
      const { covered, signature: found, ...rest } = decoded;
      expect({ ...rest, body: Uint8Array.from(rest.body) }).toEqual(given);
      expect(covered).toEqual(encodeFrame(given, isSigned));
      expect(found).toEqual(isSigned ? signature : undefined);
    }),
  );
});

test.each(['untravelable', 'private'] as const)('a frame that is %s has no body', (kind) => {
  const bare = encodeFrame({ ...FRAME, kind, body: Buffer.alloc(0) }, false);
  expect(decodeFrame(bare)).toMatchObject({ kind, key: 'k', id: 'inbox#1' });
  expect(decodeFrame(Buffer.concat([bare, Buffer.from([0])]))).toEqual({ kind: 'rejected', reason: 'malformed' });
});

test('the span of a load takes 25 bytes, and a frame without one is what it was before there were spans', () => {
  const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const without = encodeFrame(FRAME, false);
  expect(without.toString('hex')).toBe('020100060a24181e4001018bcfe56800016b07696e626f782331000aff');
  expect(encodeFrame({ ...FRAME, trace }, false).length - without.length).toBe(25);
  expect(encodeFrame({ ...FRAME, trace: undefined }, false)).toEqual(without);
});

test.each([
  ['nothing', Buffer.alloc(0), 'malformed'],
  ['a version alone', Buffer.from([2]), 'malformed'],
  ['another version', Buffer.from([3, 1, 0]), 'unknown_version'],
  ['an unknown kind', changed(1, 9), 'malformed'],
  ['kind zero', changed(1, 0), 'malformed'],
  ['a token past the safe integers', changed(2, 255), 'malformed'],
  ['a key that is longer than the frame', changed(16, 255), 'malformed'],
  ['an id that is longer than the frame', changed(18, 255), 'malformed'],
  ['a signature that is not there', changed(1, 0x81), 'malformed'],
] as const)('%s is rejected', (_, bytes, reason) => {
  expect(decodeFrame(bytes)).toEqual({ kind: 'rejected', reason });
});

test('a frame that is cut anywhere in its head is rejected', () => {
  const whole = encodeFrame(FRAME, false);
  const traced = encodeFrame({ ...FRAME, trace: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }, false);
  for (const frame of [whole, traced]) {
    for (let length = 0; length < frame.length - FRAME.body.length; length++) {
      expect(decodeFrame(frame.subarray(0, length))).toEqual({ kind: 'rejected', reason: 'malformed' });
    }
  }
});

test('whatever bytes arrive, nothing is thrown', () => {
  const almost = fc.tuple(fc.nat({ max: 60 }), fc.nat({ max: 255 })).map(([at, byte]) => changed(at, byte));
  const bytes = fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from([2, ...array]));
  fc.assert(
    fc.property(fc.oneof(almost, bytes), (frame) => typeof decodeFrame(frame).kind === 'string'),
    { numRuns: 5_000 },
  );
});

test('a key or an id that does not fit is an error of ours, not a broken frame', () => {
  expect(() => encodeFrame({ ...FRAME, id: 'x'.repeat(256) }, false)).toThrow(RangeError);
});

function changed(at: number, byte: number): Buffer {
  const bytes = encodeFrame(FRAME, false);
  bytes[at] = byte;
  return bytes;
}
