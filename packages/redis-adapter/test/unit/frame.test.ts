import type { Outcome } from '@oneflight/core';
import { expect, test } from 'vitest';
import { decodeFrame, encodeFrame } from '../../src/frame.js';

const OUTCOMES: Outcome[] = [
  { kind: 'value', bytes: Buffer.from([0, 10, 255]) },
  { kind: 'value', bytes: Buffer.alloc(0) },
  { kind: 'error', bytes: Buffer.from('boom') },
  { kind: 'unshareable', why: 'untravelable' },
  { kind: 'unshareable', why: 'private' },
];

test.each(OUTCOMES)('an outcome comes out as it went in: %o', (outcome) => {
  expect(decodeFrame(encodeFrame(outcome), 100)).toEqual(outcome);
});

test.each([
  ['nothing', [], 'malformed'],
  ['a version alone', [1], 'malformed'],
  ['another version', [2, 1, 0], 'unknown_version'],
  ['an unknown kind', [1, 9], 'malformed'],
  ['unshareable with bytes', [1, 3, 0], 'malformed'],
  ['private with bytes', [1, 4, 0], 'malformed'],
  ['more than the limit', [1, 1, 0, 0, 0, 0, 0], 'too_large'],
] as const)('%s is rejected', (_, bytes, reason) => {
  expect(decodeFrame(Buffer.from(bytes), 4)).toEqual({ kind: 'rejected', reason });
});
