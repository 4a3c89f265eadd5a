import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Frames } from '../../src/frames.js';
import { parseMessage } from '../../src/message.js';

const KEY = 'a'.repeat(43);
const TOKEN = 1_700_000_000_000_001;
const frames = new Frames({ prefix: 'oneflight', payloadBytesMax: 100, compressBytesMin: Number.POSITIVE_INFINITY, secretKeys: [] });
const FRAME = frameOf('line\nbreak', KEY, TOKEN);

test('a settled message carries ids of this inbox, the token and the outcome', () => {
  expect(parse(`1 settled ${KEY} ${TOKEN} 7,8\n`, FRAME)).toEqual([
    {
      kind: 'settled',
      key: KEY,
      ids: ['inbox#7', 'inbox#8'],
      fencingToken: TOKEN,
      outcome: { kind: 'value', bytes: Buffer.from('line\nbreak') },
    },
  ]);
});

test('a woken message carries ids of this inbox', () => {
  expect(parse(`1 woken ${KEY} 7\n`)).toEqual([{ kind: 'woken', key: KEY, ids: ['inbox#7'] }]);
});

test('an invalidated message carries the floor', () => {
  expect(parse(`1 invalidated ${KEY} 5\n`)).toEqual([{ kind: 'invalidated', key: KEY, floor: 5 }]);
});

test.each([
  ['nothing', '', 'malformed'],
  ['no line', `1 woken ${KEY} 7`, 'malformed'],
  ['an unknown kind', `1 sung ${KEY} 7\n`, 'malformed'],
  ['another version', `2 woken ${KEY} 7\n`, 'unknown_version'],
  ['no version', `x woken ${KEY} 7\n`, 'malformed'],
  ['no key', '1 woken\n', 'malformed'],
  ['a key with braces', '1 woken {a} 7\n', 'malformed'],
  ['no ids', `1 woken ${KEY} \n`, 'malformed'],
  ['an empty id', `1 woken ${KEY} 7,,8\n`, 'malformed'],
  ['a field too many', `1 woken ${KEY} 7 8\n`, 'malformed'],
  ['bytes after a wake-up', `1 woken ${KEY} 7\nx`, 'malformed'],
  ['a token that is no number', `1 settled ${KEY} x 7\n`, 'malformed'],
  ['a token of zero', `1 settled ${KEY} 0 7\n`, 'malformed'],
  ['a token past the safe integers', `1 settled ${KEY} 9999999999999999 7\n`, 'malformed'],
  ['a negative floor', `1 invalidated ${KEY} -5\n`, 'malformed'],
  ['a floor that no clock shows', `1 invalidated ${KEY} ${Date.now() * 1_000 + 31 * 86_400_000_000}\n`, 'malformed'],
  ['a floor at the end of numbers', `1 invalidated ${KEY} 9007199254740991\n`, 'malformed'],
  ['a header without end', `1 woken ${'x'.repeat(2_000_000)}\n`, 'too_large'],
])('%s is rejected', (_, text, reason) => {
  expect(parse(text)).toEqual([{ kind: 'rejected', reason }]);
});

test.each([
  ['no frame', Buffer.alloc(0), 'malformed'],
  ['a frame of another version', Buffer.from([1, 1]), 'unknown_version'],
  ['a frame above the limit', Buffer.alloc(2_000, 2), 'too_large'],
  ['a frame of another key', frameOf('x', 'b'.repeat(43), TOKEN), 'key_mismatch'],
  ['a frame with an older token', frameOf('x', KEY, TOKEN - 1), 'stale_token'],
  ['a frame with a newer token', frameOf('x', KEY, TOKEN + 1), 'stale_token'],
] as const)('%s is rejected, and those who wait are told to ask', (_, frame, reason) => {
  expect(parse(`1 settled ${KEY} ${TOKEN} 7,8\n`, frame)).toEqual([
    { kind: 'rejected', reason },
    { kind: 'woken', key: KEY, ids: ['inbox#7', 'inbox#8'] },
  ]);
});

test('whatever arrives, nothing is thrown', () => {
  const header = fc.string({ maxLength: 40 }).map((text) => Buffer.from(`1 settled ${KEY} ${text}\n`));
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
  fc.assert(
    fc.property(fc.oneof(bytes, header), bytes, (start, end) =>
      parse('', Buffer.concat([start, end])).every(({ kind }) => typeof kind === 'string'),
    ),
    { numRuns: 2_000 },
  );
});

function parse(text: string, frame: Uint8Array = Buffer.alloc(0)) {
  return parseMessage('inbox', Buffer.concat([Buffer.from(text, 'latin1'), frame]), frames);
}

function frameOf(text: string, key: string, token: number): Buffer {
  const sealed = frames.seal({ kind: 'value', bytes: Buffer.from(text) }, { key, id: 'leader#1', token, livesMs: 10_000 });
  if (sealed === undefined || sealed instanceof Promise) throw new Error('expected a frame at once');
  return sealed.bytes;
}
