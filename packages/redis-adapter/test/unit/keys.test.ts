import { expect, test } from 'vitest';
import { inboxOf, keyNames } from '../../src/scripts/keys.js';

const names = keyNames('shop');

test('all keys of one logical key share its hash as the only hash tag', () => {
  const inbox = names.newInbox();
  const keys = [names.lease('k'), names.state('k'), names.waiters('k'), names.outcome('k'), names.payload('k', `${inbox}#1`)];
  expect(keys.map((key) => /\{([^}]*)\}/.exec(key)?.[1])).toEqual(['k', 'k', 'k', 'k', 'k']);
  expect(keys.every((key) => key.startsWith('shop:v1:{k}:') && key.split('{').length === 2)).toBe(true);
  expect(new Set(keys).size).toBe(5);
});

test('each inbox is new and is found again in its ids', () => {
  const inbox = names.newInbox();
  expect(names.newInbox()).not.toBe(inbox);
  expect(inbox).toMatch(/^shop:v1:i:[\w-]{22}$/);
  expect(inboxOf(`${inbox}#12`)).toBe(inbox);
});

test('a namespace has one broadcast channel, whatever letters it is made of', () => {
  expect(names.broadcast('a b{c}\n')).toMatch(/^shop:v1:b:[\w-]{43}$/);
  expect(names.broadcast('a')).toBe(names.broadcast('a'));
  expect(names.broadcast('a')).not.toBe(names.broadcast('b'));
});
