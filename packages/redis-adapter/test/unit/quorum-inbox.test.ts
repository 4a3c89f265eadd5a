import type { Claim, Message } from '@oneflight/core';
import { expect, test } from 'vitest';
import { QuorumInbox } from '../../src/quorum/inbox.js';

test('an outcome comes once, however many nodes send it', async () => {
  const { inbox, heard } = setUp();
  await inbox.during('me#1', () => Promise.resolve(follow(5)));
  for (const node of [0, 1, 2]) inbox.receive(node, settled(5));
  expect(heard).toEqual([settled(5)]);
});

test('an outcome that overtakes the votes waits for them, and only then is it known whether it may answer', async () => {
  for (const [token, answers] of [
    [4, false],
    [5, true],
  ] as const) {
    const { inbox, heard } = setUp();
    await inbox.during('me#1', () => {
      inbox.receive(0, settled(token));
      expect(heard).toEqual([]);
      return Promise.resolve(follow(5));
    });
    expect(heard).toEqual(answers ? [settled(token)] : []);
  }
});

test('an outcome below the min of a waiter does not reach it, and its wait goes on', async () => {
  const { inbox, heard } = setUp();
  await inbox.during('me#1', () => Promise.resolve(follow(5)));
  inbox.receive(0, settled(4));
  inbox.receive(1, settled(6));
  expect(heard).toEqual([settled(6)]);
});

test('the same wake-up from several nodes wakes once, another one from the same node wakes again', async () => {
  const { inbox, heard } = setUp();
  await inbox.during('me#1', () => Promise.resolve(follow(5)));
  for (const node of [0, 1, 2, 0]) inbox.receive(node, WOKEN);
  expect(heard).toEqual([WOKEN, WOKEN]);
});

test('a wake-up that overtakes the votes is not lost', async () => {
  const { inbox, heard } = setUp();
  await inbox.during('me#1', () => {
    inbox.receive(0, WOKEN);
    return Promise.resolve(follow(5));
  });
  expect(heard).toEqual([WOKEN]);
});

test('a wake-up for somebody who neither leads nor waits is reported: a vote may be left with them', async () => {
  const { inbox, heard, orphans } = setUp();
  inbox.receive(0, WOKEN);
  await inbox.during('me#1', () => Promise.resolve({ role: 'leader', fencingToken: 5, attempt: 1, floor: 0 }));
  inbox.receive(0, WOKEN);
  inbox.forget('me#1');
  inbox.receive(0, WOKEN);
  expect([heard, orphans]).toEqual([[], ['me#1', 'me#1']]);
});

test('an invalidation is told once, and an older one not after it', () => {
  const { inbox, heard } = setUp();
  for (const floor of [7, 7, 6, 8]) inbox.receive(0, { kind: 'invalidated', key: 'k', floor });
  expect(heard.map((message) => message.kind === 'invalidated' && message.floor)).toEqual([7, 8]);
});

const WOKEN: Message = { kind: 'woken', key: 'k', ids: ['me#1'] };

function settled(fencingToken: number): Message {
  return { kind: 'settled', key: 'k', ids: ['me#1'], fencingToken, outcome: { kind: 'unshareable', why: 'private' } };
}

function follow(min: number): Claim {
  return { role: 'follower', flightId: 'x#1', min, leaseLeftMs: 100, floor: 0 };
}

function setUp() {
  const heard: Message[] = [];
  const orphans: string[] = [];
  const replica = { namespace: 'test', receive: (message: Message) => void heard.push(message) };
  return { heard, orphans, inbox: new QuorumInbox(replica, (_, id) => void orphans.push(id)) };
}
