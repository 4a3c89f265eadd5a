import type { StoredOutcome } from '@oneflight/core';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { NearValues } from '../../src/near.js';

const ALWAYS = { freshMs: 60_000, refreshesEarly: false };

let near: NearValues;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  near = new NearValues({ bytesMax: 10_000, maxAgeMs: 1_000 });
});

afterEach(() => {
  vi.useRealTimers();
});

function stored(text: string, changes: Partial<StoredOutcome> = {}): StoredOutcome {
  return { outcome: { kind: 'value', bytes: Buffer.from(text) }, fencingToken: 100, ageMs: 0, loadMs: 0, ...changes };
}

function keep(key: string, found: StoredOutcome): void {
  near.reading(key)(found);
}

function textOf(key: string, floor = 0, read = ALWAYS): string | undefined {
  const outcome = near.read(key, floor, read)?.outcome;
  return outcome?.kind === 'value' ? Buffer.from(outcome.bytes).toString() : undefined;
}

test('a copy answers with the age that the value has, counted from before Redis was asked', () => {
  const found = near.reading('k');
  vi.advanceTimersByTime(40);
  found(stored('seats', { ageMs: 100 }));
  vi.advanceTimersByTime(200);
  expect(near.read('k', 0, ALWAYS)).toMatchObject({ fencingToken: 100, ageMs: 340 });
});

test('a copy is used for maxAgeMs and not longer, however long the value may be used', () => {
  keep('k', stored('seats'));
  vi.advanceTimersByTime(999);
  expect(textOf('k')).toBe('seats');
  vi.advanceTimersByTime(1);
  expect(textOf('k')).toBeUndefined();
});

test('a value answers no caller to whom it is not fresh, nor one for longer than it says itself', () => {
  keep('k', stored('seats', { ageMs: 500, lifetimes: { ttlMs: 700, staleWhileRevalidateMs: 60_000, staleIfErrorMs: 0 } }));
  expect(textOf('k', 0, { freshMs: 500, refreshesEarly: false })).toBeUndefined();
  expect(textOf('k', 0, { freshMs: 501, refreshesEarly: false })).toBe('seats');
  vi.advanceTimersByTime(200);
  expect(textOf('k')).toBeUndefined();
});

test('near the end of a value that is refreshed early Redis is asked', () => {
  keep('k', stored('seats', { loadMs: 20 }));
  const read = { freshMs: 800, refreshesEarly: true };
  vi.advanceTimersByTime(599);
  expect(textOf('k', 0, read)).toBe('seats');
  vi.advanceTimersByTime(1);
  expect(textOf('k', 0, read)).toBeUndefined();
});

test('an invalidation removes the copy, but not one of what was loaded after it', () => {
  keep('k', stored('old'));
  keep('other', stored('other'));
  near.invalidated('k', 100);
  expect([textOf('k'), textOf('other')]).toEqual([undefined, 'other']);
  keep('k', stored('new', { fencingToken: 101 }));
  near.invalidated('k', 100);
  expect(textOf('k')).toBe('new');
});

test('a copy from before a floor that the caller knows is not used', () => {
  keep('k', stored('old'));
  expect(textOf('k', 100)).toBeUndefined();
  expect(textOf('k')).toBeUndefined();
});

test('a reply that comes after the news of an invalidation is not kept, for whichever of its readers', () => {
  const first = near.reading('k');
  const second = near.reading('k');
  first(stored('old'));
  near.invalidated('k', 100);
  second(stored('old'));
  expect(textOf('k')).toBeUndefined();
  near.reading('k')(stored('new', { fencingToken: 101 }));
  expect(textOf('k')).toBe('new');
});

test('what was asked for before messages were lost is not kept after it', () => {
  const found = near.reading('k');
  keep('other', stored('other'));
  near.clear();
  found(stored('old'));
  expect([textOf('k'), textOf('other')]).toEqual([undefined, undefined]);
});

test('only values are kept, and what was not found leaves nothing behind', () => {
  near.reading('k')(undefined);
  keep('k', stored('', { outcome: { kind: 'error', bytes: Buffer.from('failed') } }));
  keep('k', stored('', { outcome: { kind: 'unshareable', why: 'untravelable' } }));
  expect(textOf('k')).toBeUndefined();
});

test('copies take bytesMax at most: the least recently used go first, and what is larger is not kept', () => {
  for (let key = 0; key < 8; key++) keep(`k${key}`, stored('x'.repeat(1_000)));
  expect(textOf('k1')).toHaveLength(1_000);
  keep('large', stored('x'.repeat(11_000)));
  keep('k8', stored('x'.repeat(1_000)));
  expect([textOf('k0'), textOf('k1')?.length, textOf('k2'), textOf('k8')?.length, textOf('large')]).toEqual([
    undefined,
    1_000,
    undefined,
    1_000,
    undefined,
  ]);
});

test('what a reader does to its bytes harms no other', () => {
  const bytes = Buffer.from('seats');
  keep('k', stored('', { outcome: { kind: 'value', bytes } }));
  bytes.fill(0);
  const outcome = near.read('k', 0, ALWAYS)?.outcome;
  if (outcome?.kind === 'value') outcome.bytes.fill(0);
  expect(textOf('k')).toBe('seats');
});

test('it counts reads by what came of them, and copies by why they were given up', () => {
  const text = 'x'.repeat(1_000);
  expect(textOf('k')).toBeUndefined();
  keep('k', stored(text));
  for (let read = 0; read < 3; read++) expect(textOf('k')).toBe(text);
  expect(textOf('k', 0, { freshMs: 0, refreshesEarly: false })).toBeUndefined();
  expect(near.stats()).toEqual({
    ...{ hits: 3, misses: 1, outdated: 1, evicted: 0, invalidated: 0, cleared: 0 },
    ...{ entries: 1, bytes: 1_300, bytesMax: 10_000 },
  });
  for (let key = 0; key < 8; key++) keep(`k${key}`, stored(text));
  keep('large', stored('x'.repeat(11_000)));
  near.invalidated('k7', 100);
  near.invalidated('unknown', 100);
  expect(near.stats()).toMatchObject({ evicted: 3, invalidated: 1, entries: 6, bytes: 7_800 });
  near.clear();
  expect(near.stats()).toMatchObject({ evicted: 3, invalidated: 1, cleared: 6, entries: 0, bytes: 0 });
});
