import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { Answer } from '../../src/answer.js';
import { answerCodec } from '../../src/answer-codec.js';

const answer: Answer = {
  status: 200,
  message: undefined,
  headers: [
    ['content-type', 'text/plain; charset=utf-8'],
    ['link', ['<a>', '<b>']],
  ],
  removed: ['x-powered-by'],
  body: Buffer.from([0, 255, 10, 13]),
  length: 4,
  vary: ['accept'],
  variant: 'v',
};

function codec(refused: string[] = [], key = 'key') {
  return answerCodec({ key, bodyBytesMax: 100, headersBytesMax: 200, onRefused: () => refused.push('refused') });
}

/** What an enemy who can write to Redis would put there. */
function forged(changes: object, { body = answer.body }: { body?: Uint8Array } = {}): Buffer {
  const { body: _, ...head } = answer;
  const text = Buffer.from(JSON.stringify({ ...head, key: 'key', ...changes }));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(1);
  prefix.writeUInt32LE(text.byteLength, 1);
  return Buffer.concat([prefix, text, body]);
}

describe('an answer that travels', () => {
  it('arrives as it was sent', () => {
    expect(codec().decode(codec().encode(answer))).toEqual(answer);
    expect(codec().decode(forged({}))).toEqual(answer);
  });

  it('is never one that is private', () => {
    expect(() => codec().encode(null)).toThrow(/private/);
  });

  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['another format', Buffer.concat([Buffer.from([2]), forged({}).subarray(1)])],
    ['a head longer than all of it', Buffer.from([1, 255, 255, 0, 0, 123, 125])],
    ['a head of absurd length', Buffer.from([1, 255, 255, 255, 255])],
    ['no JSON', Buffer.from([1, 1, 0, 0, 0, 123])],
    ['a list', Buffer.from([1, 2, 0, 0, 0, 91, 93])],
    ['the answer to another key', forged({ key: 'other' })],
    ['no key', forged({ key: undefined })],
    ['a status that is never shared', forged({ status: 206 })],
    ['a status that is none', forged({ status: '200' })],
    ['a status that is no integer', forged({ status: 200.5 })],
    ['a split header value', forged({ headers: [['x-a', 'b\r\nset-cookie: a=1']] })],
    ['a split header value in a list', forged({ headers: [['x-a', ['b', 'c\nd: e']]] })],
    ['a split header name', forged({ headers: [['x-a\r\nx-b', 'c']] })],
    ['a header name in another case', forged({ headers: [['Set-Cookie', 'a=1']] })],
    ['a cookie', forged({ headers: [['set-cookie', ['a=1']]] })],
    ['a header of the connection', forged({ headers: [['transfer-encoding', 'chunked']] })],
    ['a length among the headers', forged({ headers: [['content-length', '1']] })],
    ['a header that is no pair', forged({ headers: [['x-a']] })],
    ['headers that are no list', forged({ headers: { 'x-a': 'b' } })],
    ['a header value that is a number', forged({ headers: [['x-a', 5]] })],
    ['headers over the limit', forged({ headers: [['x-a', 'b'.repeat(200)]] })],
    ['a body over the limit', forged({}, { body: Buffer.alloc(101) })],
    ['a split reason phrase', forged({ message: 'OK\r\nset-cookie: a=1' })],
    ['a removed header that is none', forged({ removed: ['a b'] })],
    ['a name to vary on that is none', forged({ vary: ['a: b'] })],
    ['no variant', forged({ variant: null })],
    ['a negative length', forged({ length: -1 })],
  ])('is refused and counted when it is %s', (_what, bytes) => {
    const refused: string[] = [];
    expect(() => codec(refused).decode(bytes)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_PAYLOAD' }));
    expect(refused).toEqual(['refused']);
  });

  it('is refused or sound, whatever bytes come', () => {
    const parts = fc.record(
      {
        status: fc.anything(),
        message: fc.anything(),
        headers: fc.anything(),
        removed: fc.anything(),
        vary: fc.anything(),
        length: fc.anything(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 80 }),
          parts.map((changes) => safely(changes)),
        ),
        (bytes) => {
          try {
            const { status, headers } = (codec().decode(bytes) as Answer | null) ?? answer;
            expect(status).toBe(200);
            for (const [name, value] of headers) expect(`${name}${String(value)}`).not.toMatch(/[\r\n]/);
          } catch (error) {
            expect(error).toMatchObject({ code: 'ERR_ONEFLIGHT_PAYLOAD' });
          }
        },
      ),
    );
  });
});

function safely(changes: object): Buffer {
  try {
    return forged(changes);
  } catch {
    return Buffer.alloc(0); // bigints and cycles are no JSON
  }
}
