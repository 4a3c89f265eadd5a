import { expect, test } from 'vitest';
import { readClaim, readFloor, readReleased, readRenewal, readSettlement, readSubscribers } from '../../src/replies.js';

const claim = readClaim;

test('each reply of the scripts becomes a case of core', () => {
  const frame = Buffer.from('whatever is stored');
  expect(claim(reply('lead', '7', '6', 2))).toEqual({ role: 'leader', fencingToken: 7, floor: 6, attempt: 2 });
  expect(claim(reply('follow', '7', '6', 250, 'inbox#1'))).toEqual({
    role: 'follower',
    min: 7,
    floor: 6,
    leaseLeftMs: 250,
    flightId: 'inbox#1',
  });
  expect(claim([...reply('settled', '7', '6'), frame])).toEqual({
    role: 'settled',
    fencingToken: 7,
    floor: 6,
    frame,
  });
  expect(readRenewal(reply('held', '6', 3))).toEqual({ state: 'held', floor: 6, waiters: 3 });
  expect(readRenewal(reply('detached', ''))).toEqual({ state: 'detached', floor: undefined });
  expect(readSettlement(reply('settled', '6'))).toEqual({ state: 'settled', floor: 6 });
  expect(readSettlement(reply('detached', ''))).toEqual({ state: 'detached', floor: undefined });
  expect(readReleased(reply('released'))).toBeUndefined();
  expect(readFloor(reply('invalidated', '1700000000000001'))).toBe(1_700_000_000_000_001);
  expect(readSubscribers(reply('inbox', 1, 'other', 0))).toEqual(
    new Map([
      ['inbox', 1],
      ['other', 0],
    ]),
  );
});

test.each<[string, (reply: unknown) => unknown, unknown]>([
  ['a claim that is null', claim, null],
  ['a claim without fields', claim, []],
  ['a claim with an unknown tag', claim, reply('sing')],
  ['a lead without an attempt', claim, reply('lead', '7', '6')],
  ['a token with a fraction', claim, reply('lead', '7.5', '6', 1)],
  ['a token past the safe integers', claim, reply('lead', '9999999999999999', '6', 1)],
  ['a lease that has no expiry', claim, reply('follow', '7', '6', -1, 'inbox#1')],
  ['a settled claim without frame', claim, reply('settled', '7', '6', 1)],
  ['a renewal that is a word', readRenewal, Buffer.from('held')],
  ['a renewal without waiters', readRenewal, reply('held', '6')],
  ['a settlement with an unknown tag', readSettlement, reply('held', '6')],
  ['a release with an unknown tag', readReleased, reply('settled')],
  ['an invalidation without floor', readFloor, reply('invalidated')],
  ['subscribers without a count', readSubscribers, reply('inbox')],
])('%s is a protocol error', (_, read, value) => {
  expect(() => read(value)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'protocol' }));
});

function reply(...fields: readonly (string | number)[]): unknown[] {
  return fields.map((field) => (typeof field === 'string' ? Buffer.from(field) : field));
}
