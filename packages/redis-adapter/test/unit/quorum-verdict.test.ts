import { expect, test } from 'vitest';
import { judge } from '../../src/quorum/verdict.js';
import type { Vote } from '../../src/quorum/votes.js';

const ABSENT: Vote = { kind: 'absent', error: new Error('away') };

test.each<[string, readonly Vote[], object]>([
  ['a majority that agrees on a token elects', [lead(5), lead(5), ABSENT], { kind: 'elected', token: 5 }],
  ['one node more than its leases says does not count as agreed', [lead(5, 9), lead(5), ABSENT], { kind: 'outbid', token: 10 }],
  ['different tokens are raised above them all', [lead(5), lead(7), lead(6)], { kind: 'outbid', token: 8 }],
  ['nodes that know higher tokens would take a higher one', [lead(5), behind(20), ABSENT], { kind: 'outbid', token: 21 }],
  ['a floor that one node knows is bid above', [lead(5), lead(5), follow('x#1', 3, 8)], { kind: 'outbid', token: 9 }],
  [
    'a majority that names another is followed, and its highest token is the min',
    [follow('x#1', 5), follow('x#1', 7), ABSENT],
    { kind: 'led', leader: 'x#1', min: 7 },
  ],
  ['a flight that one node has fenced is not followed', [follow('x#1', 5), follow('x#1', 5), behind(6, 6)], { kind: 'unfenced', floor: 6 }],
  ['a minority is not followed: who asked first goes first', [follow('x#1', 5), follow('y#1', 4), ABSENT], { kind: 'split', first: 'y#1' }],
  ['a claimer with a vote may be the first', [follow('x#1', 5), lead(4), ABSENT], { kind: 'split', first: 'me#1' }],
  ['equal tokens are told apart by the id', [follow('z#1', 4), follow('a#1', 4), ABSENT], { kind: 'split', first: 'a#1' }],
  ['an outcome from one node is enough', [settled(6), ABSENT, ABSENT], { kind: 'settled' }],
  ['too few answers decide nothing', [lead(5), ABSENT, ABSENT], { kind: 'unknown', error: expect.any(Error) }],
])('%s', (_, votes, verdict) => {
  expect(judge(votes, 2, 'me#1', 0)).toMatchObject(verdict);
});

test('a floor that the claimer knows counts as one that a node knows', () => {
  expect(judge([follow('x#1', 5), follow('x#1', 5), ABSENT], 2, 'me#1', 5)).toEqual({ kind: 'unfenced', floor: 5 });
});

test('three of five are a majority', () => {
  const votes = [lead(5), lead(5), follow('x#1', 4), ABSENT, ABSENT];
  expect(judge(votes, 3, 'me#1', 0)).toMatchObject({ kind: 'split', first: 'x#1' });
  expect(judge([...votes.slice(0, 4), lead(5)], 3, 'me#1', 0)).toMatchObject({ kind: 'elected', token: 5 });
});

function lead(token: number, highest = token): Vote {
  return { kind: 'lead', token, highest, attempt: 1, floor: undefined };
}

function follow(leader: string, token: number, floor?: number): Vote {
  return { kind: 'follow', token, leader, leaseLeftMs: 100, floor };
}

function behind(highest: number, floor?: number): Vote {
  return { kind: 'behind', highest, floor };
}

function settled(token: number): Vote {
  return { kind: 'settled', token, frame: Buffer.from('frame'), floor: undefined };
}
