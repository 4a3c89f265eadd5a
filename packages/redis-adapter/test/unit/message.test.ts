import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeFrame } from '../../src/frame.js';
import { parseMessage } from '../../src/message.js';

const KEY = 'a'.repeat(43);
const FRAME = encodeFrame({ kind: 'value', bytes: Buffer.from('line\nbreak') });

test('a settled message carries ids of this inbox, the token and the outcome', () => {
  expect(parse(`1 settled ${KEY} 1700000000000001 7,8\n`, FRAME)).toEqual({
    kind: 'settled',
    key: KEY,
    ids: ['inbox#7', 'inbox#8'],
    fencingToken: 1_700_000_000_000_001,
    outcome: { kind: 'value', bytes: Buffer.from('line\nbreak') },
  });
});

test('a woken message carries ids of this inbox', () => {
  expect(parse(`1 woken ${KEY} 7\n`)).toEqual({ kind: 'woken', key: KEY, ids: ['inbox#7'] });
});

test('an invalidated message carries the floor', () => {
  expect(parse(`1 invalidated ${KEY} 5\n`)).toEqual({ kind: 'invalidated', key: KEY, floor: 5 });
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
  ['no frame', `1 settled ${KEY} 5 7\n`, 'malformed'],
  ['a frame of another version', `1 settled ${KEY} 5 7\n\u0002\u0001`, 'unknown_version'],
  ['a frame above the limit', `1 settled ${KEY} 5 7\n\u0001\u0001${'x'.repeat(101)}`, 'too_large'],
  ['a header without end', `1 woken ${'x'.repeat(2_000_000)}\n`, 'too_large'],
])('%s is rejected', (_, text, reason) => {
  expect(parse(text)).toEqual({ kind: 'rejected', reason });
});

test('whatever arrives, nothing is thrown', () => {
  const header = fc.string({ maxLength: 40 }).map((text) => Buffer.from(`1 settled ${KEY} ${text}\n`));
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
  fc.assert(
    fc.property(
      fc.oneof(bytes, header),
      bytes,
      (start, end) => typeof parseMessage('inbox', Buffer.concat([start, end]), 100).kind === 'string',
    ),
    { numRuns: 2_000 },
  );
});

function parse(text: string, frame = Buffer.alloc(0)) {
  return parseMessage('inbox', Buffer.concat([Buffer.from(text, 'latin1'), frame]), 100);
}
