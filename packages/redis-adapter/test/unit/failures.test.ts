import { CoordinatorError } from '@oneflight/core';
import { expect, test } from 'vitest';
import { isScriptMissing, toCoordinatorError } from '../../src/failures.js';

test.each([
  ['what the server refuses', replyError('OOM command not allowed'), 'refused'],
  ['what was never written', new Error("Stream isn't writeable and enableOfflineQueue options is false"), 'unavailable'],
  ['a reply that did not come', new Error('Command timed out'), 'timeout'],
  ['a connection that broke after the command was written', new Error('Connection is closed.'), 'timeout'],
  ['what is no error', 'boom', 'timeout'],
] as const)('%s has its reason, and the cause', (_, cause, reason) => {
  expect(toCoordinatorError(cause)).toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason, cause });
});

test('a coordinator error stays itself', () => {
  const error = new CoordinatorError('protocol', 'odd');
  expect(toCoordinatorError(error)).toBe(error);
});

test('a missing script is told from other refusals, and from words that only look like one', () => {
  expect(isScriptMissing(replyError('NOSCRIPT No matching script.'))).toBe(true);
  expect(isScriptMissing(replyError('OOM command not allowed'))).toBe(false);
  expect(isScriptMissing(new Error('NOSCRIPT'))).toBe(false);
});

function replyError(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' });
}
