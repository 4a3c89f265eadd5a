import { expect, test } from 'vitest';
import { slotOf } from '../../src/slot.js';

test.each([
  // The example of the Redis Cluster specification: CRC16 is 0x31C3.
  ['123456789', 12_739],
  ['foo', 12_182],
  ['bar', 5_061],
  ['', 0],
])('the slot of %j is that of Redis', (key, slot) => {
  expect(slotOf(key)).toBe(slot);
});

test.each([
  ['only the hash tag counts', 'a:{foo}:b', 'foo'],
  ['the first one', '{foo}{bar}', 'foo'],
  ['not an empty one', 'x{}{bar}', undefined],
  ['not one that does not end', 'x{foo', undefined],
])('%s', (_, key, tag) => {
  expect(slotOf(key) === slotOf(tag ?? 'foo')).toBe(tag !== undefined);
});
