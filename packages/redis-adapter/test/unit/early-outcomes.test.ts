import type { Claim, Message } from '@oneflight/core';
import { beforeEach, expect, test } from 'vitest';
import { EarlyOutcomes } from '../../src/early-outcomes.js';

let delivered: Message[];
let early: EarlyOutcomes;

beforeEach(() => {
  delivered = [];
  early = new EarlyOutcomes((message) => delivered.push(message));
});

test('an outcome that overtakes the reply to its claim is delivered when the reply lets it', async () => {
  const asked = ask('i#1');
  early.pass(outcome(7, 'i#1'));
  expect(delivered).toEqual([]);
  await asked.reply(follower(7));
  expect(delivered).toEqual([outcome(7, 'i#1')]);
});

test('an older outcome that is sent again while the claim is under way is never delivered', async () => {
  const asked = ask('i#1');
  early.pass(outcome(6, 'i#1'));
  await asked.reply(follower(7));
  expect(delivered).toEqual([]);
});

test.each<[string, Claim]>([
  ['leads', { role: 'leader', fencingToken: 8, attempt: 1, floor: 0 }],
  ['is answered by the reply itself', { role: 'settled', outcome: { kind: 'unshareable', why: 'private' }, fencingToken: 8, floor: 0 }],
])('who %s needs no early outcome', async (_, reply) => {
  const asked = ask('i#1');
  early.pass(outcome(7, 'i#1'));
  await asked.reply(reply);
  expect(delivered).toEqual([]);
});

test('outcomes for ids that wait for no reply pass at once', async () => {
  const asked = ask('i#1');
  early.pass(outcome(7, 'i#1', 'i#2'));
  expect(delivered).toEqual([outcome(7, 'i#2')]);
  await asked.reply(follower(7));
  early.pass(outcome(9, 'i#1'));
  expect(delivered).toEqual([outcome(7, 'i#2'), outcome(7, 'i#1'), outcome(9, 'i#1')]);
});

test('of a claim that was sent twice the first reply counts, also when the other one fails', async () => {
  const [first, second] = [ask('i#1'), ask('i#1')];
  early.pass(outcome(7, 'i#1'));
  await first.fail();
  expect(delivered).toEqual([]);
  await second.reply(follower(7));
  expect(delivered).toEqual([outcome(7, 'i#1')]);
});

test('nothing is kept for a claim that got no reply', async () => {
  const asked = ask('i#1');
  early.pass(outcome(7, 'i#1'));
  await asked.fail();
  await ask('i#1').reply(follower(7));
  expect(delivered).toEqual([]);
});

function ask(id: string) {
  let settle: { resolve: (claim: Claim) => void; reject: (error: Error) => void } | undefined;
  const done = early.during(id, () => new Promise((resolve, reject) => (settle = { resolve, reject })));
  return {
    reply: (claim: Claim) => (settle?.resolve(claim), done),
    fail: () => (settle?.reject(new Error('no reply')), done.catch(() => {})),
  };
}

function follower(min: number): Claim {
  return { role: 'follower', flightId: 'leader#1', min, leaseLeftMs: 1_000, floor: 0 };
}

function outcome(fencingToken: number, ...ids: string[]): Extract<Message, { kind: 'settled' }> {
  return { kind: 'settled', key: 'k', ids, fencingToken, outcome: { kind: 'unshareable', why: 'private' } };
}
