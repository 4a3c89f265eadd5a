import { createHash, createSecretKey } from 'node:crypto';
import { inspect } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import type { Outcome } from '@oneflight/core';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { decodeFrame, encodeFrame } from '../../src/frame.js';
import { type FrameOptions, Frames } from '../../src/frames.js';

const OPTIONS: FrameOptions = {
  prefix: 'oneflight',
  payloadBytesMax: 1_000_000,
  compressBytesMin: Number.POSITIVE_INFINITY,
  secretKeys: [],
};
const FLIGHT = { key: 'k', id: 'inbox#1', token: 1_700_000_000_000_001, livesMs: 10_000 };
const ASKED = { key: 'k', token: FLIGHT.token, min: 0 };
const HELLO = { kind: 'value', bytes: Buffer.from('hello') } as const;
const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const ROWS = Buffer.from(JSON.stringify(Array.from({ length: 8_000 }, (_, id) => ({ id, status: 'free', price: id % 90 }))));

const plain = frames();
const signed = frames({ secretKeys: keys('correct horse battery') });

afterEach(() => void vi.useRealTimers());

test.each<[string, Outcome]>([
  ['a value', HELLO],
  ['an empty value', { kind: 'value', bytes: Buffer.alloc(0) }],
  ['an error', { kind: 'error', bytes: Buffer.from('boom') }],
  ['a traced value', { ...HELLO, trace: TRACE }],
  ['a traced error', { kind: 'error', bytes: Buffer.from('boom'), trace: TRACE }],
])('%s comes out as it went in, signed or not', async (_, outcome) => {
  for (const side of [plain, signed]) {
    const { bytes } = await seal(side, outcome);
    expect(side.open(bytes, ASKED)).toEqual(outcome);
    expect(await side.openStored(bytes, ASKED)).toEqual(outcome);
  }
});

test.each(['untravelable', 'private'] as const)('that an outcome is %s comes out as it went in, signed or not', (why) => {
  for (const side of [plain, signed]) expect(side.open(side.sealBare(why, FLIGHT), ASKED)).toEqual({ kind: 'unshareable', why });
});

test('a payload above payloadBytesMax gets no frame, and a frame with one is refused', async () => {
  const small = frames({ payloadBytesMax: 4 });
  expect(small.seal(HELLO, FLIGHT)).toBeUndefined();
  expect(small.open((await seal(plain, HELLO)).bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'too_large' });
});

test('a frame of another key, with another token, or below the min is refused', async () => {
  for (const side of [plain, signed]) {
    const { bytes } = await seal(side, HELLO);
    expect(side.open(bytes, { ...ASKED, key: 'other' })).toEqual({ kind: 'rejected', reason: 'key_mismatch' });
    expect(side.open(bytes, { ...ASKED, token: ASKED.token + 1 })).toEqual({ kind: 'rejected', reason: 'stale_token' });
    expect(side.open(bytes, { ...ASKED, token: ASKED.token - 1 })).toEqual({ kind: 'rejected', reason: 'stale_token' });
    expect(side.open(bytes, { ...ASKED, min: ASKED.token + 1 })).toEqual({ kind: 'rejected', reason: 'stale_token' });
    expect(side.open(bytes, { ...ASKED, min: ASKED.token })).toEqual(HELLO);
  }
});

test('with a secret an unsigned frame, one signed with another secret, and one of another prefix are refused', async () => {
  const others = [
    plain,
    frames({ secretKeys: keys('another secret of ours') }),
    frames({ secretKeys: keys('correct horse battery'), prefix: 'staging' }),
  ];
  for (const other of others) {
    const { bytes } = await seal(other, HELLO);
    expect(signed.open(bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'bad_signature' });
    expect(await signed.openStored(bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'bad_signature' });
    expect(signed.open(other.sealBare('private', FLIGHT), ASKED)).toEqual({ kind: 'rejected', reason: 'bad_signature' });
  }
});

test('without a secret a signed frame is used: whoever signs first locks nobody out', async () => {
  expect(plain.open((await seal(signed, HELLO)).bytes, ASKED)).toEqual(HELLO);
});

test('with several secrets the first signs and each is accepted', async () => {
  const rotating = frames({ secretKeys: keys('the secret of tomorrow', 'correct horse battery') });
  const tomorrow = frames({ secretKeys: keys('the secret of tomorrow') });
  expect(rotating.open((await seal(signed, HELLO)).bytes, ASKED)).toEqual(HELLO);
  expect(rotating.open((await seal(tomorrow, HELLO)).bytes, ASKED)).toEqual(HELLO);
  expect(tomorrow.open((await seal(rotating, HELLO)).bytes, ASKED)).toEqual(HELLO);
  expect(signed.open((await seal(rotating, HELLO)).bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'bad_signature' });
});

test('a signed frame is refused once it has expired, with 30 s for clocks that differ', async () => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  const { bytes } = await seal(signed, HELLO);
  vi.setSystemTime(1_800_000_000_000 + 40_000);
  expect(signed.open(bytes, ASKED)).toEqual(HELLO);
  vi.setSystemTime(1_800_000_000_000 + 40_001);
  expect(signed.open(bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'stale_token' });
});

test('what is no traceparent is left out of a frame', async () => {
  for (const trace of ['', 'secret', TRACE.toUpperCase(), `${TRACE}-secret`, `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
    expect(plain.open((await seal(plain, { ...HELLO, trace })).bytes, ASKED)).toStrictEqual(HELLO);
  }
});

test('a signed frame that was changed anywhere is never accepted', async () => {
  for (const options of [{}, { compressBytesMin: 0 }]) {
    const side = frames({ secretKeys: keys('correct horse battery'), ...options });
    const { bytes } = await seal(side, { kind: 'value', bytes: Buffer.alloc(200, 'a'), trace: TRACE });
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const forged = Buffer.from(bytes);
        forged[at] = (forged[at] ?? 0) ^ flip;
        expect(side.open(forged, ASKED).kind).toBe('rejected');
      }),
      { numRuns: 2_000 },
    );
    for (let length = 0; length < bytes.length; length++) expect(side.open(bytes.subarray(0, length), ASKED).kind).toBe('rejected');
  }
});

test('whatever arrives without the secret, nothing is thrown and nothing is accepted', async () => {
  const tail = fc.uint8Array({ maxLength: 120 });
  const forged = fc.record({
    kind: fc.constantFrom('value', 'error', 'private', 'untravelable'),
    isSigned: fc.boolean(),
    raw: fc.option(fc.nat(), { nil: undefined }),
    tail,
  });
  await fc.assert(
    fc.asyncProperty(forged, async ({ kind, isSigned, raw, tail: body }) => {
      const bytes = encodeFrame({ kind, token: FLIGHT.token, expiresAt: 2 ** 47, key: 'k', id: 'inbox#1', rawBytes: raw, body }, isSigned);
      expect(signed.open(bytes, ASKED).kind).toBe('rejected');
      expect((await signed.openStored(bytes, ASKED)).kind).toBe('rejected');
    }),
    { numRuns: 2_000 },
  );
});

test('what compresses well travels compressed, and comes out as it went in on replicas that do not compress', async () => {
  for (const bytes of [ROWS.subarray(0, 5_000), ROWS]) {
    const {
      bytes: frame,
      bodyBytes,
      opensAtOnce,
    } = await seal(frames({ compressBytesMin: 1_024 }), { kind: 'value', bytes, trace: TRACE });
    expect(frame.length).toBeLessThan(bytes.length / 3);
    expect(bodyBytes).toBeLessThan(frame.length);
    expect(opensAtOnce).toBe(bytes.length <= 262_144);
    const opened = await plain.openStored(frame, ASKED);
    if (opened.kind !== 'value') throw new Error(opened.kind);
    expect(opened.trace).toBe(TRACE);
    expect(Buffer.from(opened.bytes).equals(bytes)).toBe(true);
  }
});

test('what is small or does not get shorter travels as it is', async () => {
  const random = Buffer.concat(Array.from({ length: 64 }, (_, at) => createHash('sha256').update(String(at)).digest()));
  const side = frames({ compressBytesMin: 1_024 });
  for (const bytes of [ROWS.subarray(0, 1_023), random]) {
    expect((await seal(side, { kind: 'value', bytes })).bodyBytes).toBe(bytes.length);
  }
});

test('what takes long to decompress is refused in a message, and opened where it is stored', async () => {
  const { bytes } = await seal(frames({ compressBytesMin: 1_024 }), { kind: 'value', bytes: ROWS });
  expect(plain.open(bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'too_large' });
  expect(await plain.openStored(bytes, ASKED)).toMatchObject({ kind: 'value' });
});

test.each([
  ['says less than it holds', 100],
  ['says more than it holds', 20_000_000],
  ['says nothing', 0],
  ['says nearly what it holds', 10_000_001],
])('a bomb that %s is refused, and never takes more than it says', async (_, rawBytes) => {
  const bomb = deflateRawSync(Buffer.alloc(10_000_000));
  const bytes = encodeFrame({ kind: 'value', token: FLIGHT.token, expiresAt: 0, key: 'k', id: 'inbox#1', rawBytes, body: bomb }, false);
  const roomy = frames({ payloadBytesMax: 50_000_000 });
  for (const side of [plain, roomy]) {
    expect(side.open(bytes, ASKED)).toMatchObject({ kind: 'rejected' });
    expect(await side.openStored(bytes, ASKED)).toMatchObject({ kind: 'rejected' });
  }
});

test('a compressed form that is broken is refused', async () => {
  const bytes = encodeFrame(
    { kind: 'value', token: FLIGHT.token, expiresAt: 0, key: 'k', id: 'inbox#1', rawBytes: 300_000, body: Buffer.from('no') },
    false,
  );
  expect(await plain.openStored(bytes, ASKED)).toEqual({ kind: 'rejected', reason: 'malformed' });
});

test('a frame says whose it is: key, id and token are inside', async () => {
  expect(decodeFrame((await seal(signed, HELLO)).bytes)).toMatchObject({ key: 'k', id: 'inbox#1', token: FLIGHT.token });
});

test('nothing that can be printed holds the secret', () => {
  expect(inspect({ signed, keys: keys('correct horse battery') }, { depth: 9, showHidden: true })).not.toContain('horse');
});

function frames(changes: Partial<FrameOptions> = {}): Frames {
  return new Frames({ ...OPTIONS, ...changes });
}

function keys(...secrets: string[]) {
  return secrets.map((secret) => createSecretKey(Buffer.from(secret)));
}

async function seal(side: Frames, outcome: Outcome) {
  const sealed = await side.seal(outcome, FLIGHT);
  if (sealed === undefined) throw new Error('expected a frame');
  return sealed;
}
