import { describe, expect, it } from 'vitest';

import { controlOf, parseControl, secondsOf } from '../../src/cache/control.js';
import { demandsOf } from '../../src/cache/demands.js';
import { parseDictionary } from '../../src/cache/dictionary.js';
import { parseHttpDate } from '../../src/cache/http-date.js';
import { isSameAnswer, partOf } from '../../src/cache/range.js';
import { assess } from '../../src/cache/terms.js';
import { Variants } from '../../src/cache/variants.js';

const NOW = Date.UTC(2026, 5, 1, 12, 0, 0);
const at = (offsetS: number): string => new Date(NOW + offsetS * 1_000).toUTCString();
const head = (headers: Record<string, string>) => ({ status: 200, headers: new Map(Object.entries(headers)) });

describe('Cache-Control', () => {
  it.each<[string, string, number | null | undefined]>([
    ['max-age=5', 'max-age', 5],
    ['MAX-AGE = 5', 'max-age', 5],
    ['max-age="5"', 'max-age', 5],
    ['public, max-age=5', 'max-age', 5],
    ['max-age=99999999999', 'max-age', 2_147_483_648],
    ['public', 'max-age', undefined],
    ['x="max-age=5"', 'max-age', undefined],
    ['x="a, max-age=5", y', 'max-age', undefined],
    ['x="\\", max-age=5"', 'max-age', undefined],
    ['max-age', 'max-age', null],
    ['max-age=', 'max-age', null],
    ['max-age=-1', 'max-age', null],
    ['max-age=1.5', 'max-age', null],
    ['max-age=5, max-age=5', 'max-age', null],
  ])('%s gives %s as %s', (value, name, expected) => {
    expect(secondsOf(parseControl(value), name)).toBe(expected);
  });

  it.each(['max-age=5 6', '"', 'max-age=60, "no', '=5', 'a b', 'max-age="5'])('that cannot be read (%s) counts as no-cache', (value) => {
    expect(parseControl(value).has('no-cache')).toBe(true);
  });

  it.each<[Record<string, string>, string[]]>([
    [{ 'cdn-cache-control': 'max-age=5', 'cache-control': 'public' }, ['max-age']],
    [{ 'cdn-cache-control': 'max-age=5;x=1, no-cache', 'cache-control': 'public' }, ['max-age', 'no-cache']],
    [{ 'cdn-cache-control': '', 'cache-control': 'public' }, ['public']],
    [{ 'cdn-cache-control': 'max-age=5,', 'cache-control': 'public' }, ['public']],
    [{ 'cdn-cache-control': 'Max-Age=5', 'cache-control': 'public' }, ['public']],
    [{ 'cache-control': 'public' }, ['public']],
  ])('gives way to a CDN-Cache-Control that can be read: %o', (headers, names) => {
    expect([...controlOf(new Map(Object.entries(headers))).control.keys()]).toEqual(names);
  });

  it.each(['"5"', '5.5', 'five', '?1', '(5)'])('of a CDN takes no max-age that is no integer: %s', (value) => {
    expect(secondsOf(controlOf(new Map([['cdn-cache-control', `max-age=${value}`]])).control, 'max-age')).toBeNull();
  });
});

describe('a structured dictionary', () => {
  it.each<[string, Record<string, unknown> | undefined]>([
    ['a=1, b, c=?0, d=?1;x=2, e="q\\"q", f=tok/en:1', { a: 1, b: true, c: false, d: true, e: '"q\\"q"', f: 'tok/en:1' }],
    ['a=1.5,\tb=-7 ,c=:YQ==:, d=@1, e=%"%c3%a4"', { a: 1.5, b: -7, c: ':YQ==:', d: '@1', e: '%"%c3%a4"' }],
    ['a=(1 2;x "b"), b=()', { a: null, b: null }],
    ['a=1, a=2', { a: 2 }],
    ['  a  ', { a: true }],
    ['', {}],
    ['a,', undefined],
    [',a', undefined],
    ['A=1', undefined],
    ['a=', undefined],
    ['a=1 b=2', undefined],
    ['a="x', undefined],
    ['a="ä"', undefined],
    ['a=(1', undefined],
    ['a=(1"x")', undefined],
    ['a=1234567890123456', undefined],
    ['a=1.2345', undefined],
    ['a=1;=2', undefined],
  ])('%s', (text, expected) => {
    const parsed = parseDictionary(text);
    expect(parsed && Object.fromEntries(parsed)).toEqual(expected);
  });
});

describe('an HTTP date', () => {
  it.each<[string, number | undefined]>([
    ['Sun, 06 Nov 1994 08:49:37 GMT', 784_111_777_000],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 784_111_777_000],
    ['Sun Nov  6 08:49:37 1994', 784_111_777_000],
    ['Sun, 06 Nov 1994 08:49:37 +0000', undefined],
    ['sun, 06 nov 1994 08:49:37 gmt', undefined],
    ['Sun, 31 Feb 2027 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 24:00:00 GMT', undefined],
    ['1994-11-06', undefined],
    ['0', undefined],
    ['', undefined],
  ])('%s is %s', (text, expected) => {
    expect(parseHttpDate(text)).toBe(expected);
  });
});

describe('the lifetime of an answer', () => {
  const obeys = { lingerMs: 0, obeys: true };
  it.each<[Record<string, string>, number, number]>([
    [{ 'cache-control': 'max-age=5' }, 5_000, 0],
    [{ 'cache-control': 'max-age=5', date: at(-3) }, 5_000, 3_000],
    [{ 'cache-control': 'max-age=5', date: at(-3), age: '4' }, 5_000, 4_000],
    [{ 'cache-control': 'max-age=5', date: at(3) }, 5_000, 0],
    [{ 'cache-control': 'max-age=5', date: 'nonsense' }, 5_000, 0],
    [{ expires: at(10) }, 10_000, 0],
    [{ expires: at(10), date: at(-5) }, 15_000, 5_000],
    [{ expires: at(-10) }, 0, 0],
    [{ expires: '0' }, 0, 0],
    [{}, 0, 0],
    [{ 'cache-control': 'max-age=5', age: 'old' }, 5_000, 2_147_483_647],
    [{ 'cache-control': 'max-age=99999999999' }, 2_147_483_647, 0],
    [{ 'cdn-cache-control': 'must-revalidate', expires: at(10) }, 0, 0],
  ])('%o is %d ms, of which %d have passed', (headers, ttlMs, ageMs) => {
    expect(assess(head(headers), obeys, NOW)).toMatchObject({ terms: { ttlMs }, ageMs });
  });

  it('counts what dates cannot say as new: an answer of this second has no age', () => {
    expect(assess(head({ date: at(0) }), obeys, NOW + 999).ageMs).toBe(0);
  });

  it('is lingerMs where nothing is said, and for the shorter of the two where lingerMs is all', () => {
    const ttl = (headers: Record<string, string>, policy: { lingerMs: number; obeys: boolean }) =>
      assess(head(headers), policy, NOW).terms.ttlMs;
    expect(ttl({}, { lingerMs: 2_500, obeys: true })).toBe(2_500);
    expect(ttl({ 'cache-control': 'max-age=60' }, { lingerMs: 2_500, obeys: true })).toBe(60_000);
    expect(ttl({ 'cache-control': 'max-age=60' }, { lingerMs: 2_500, obeys: false })).toBe(2_500);
    expect(ttl({ 'cache-control': 'max-age=1' }, { lingerMs: 2_500, obeys: false })).toBe(1_000);
    expect(ttl({ 'cache-control': 'no-cache' }, { lingerMs: 2_500, obeys: true })).toBe(0);
  });
});

describe('what a request demands', () => {
  it.each<[Record<string, string>, object]>([
    [{}, { maxAgeMs: undefined, minFreshMs: 0, maxStaleMs: 0, onlyIfCached: false }],
    [
      { 'cache-control': 'max-age=5, min-fresh=2, max-stale=3, only-if-cached' },
      { maxAgeMs: 5_000, minFreshMs: 2_000, maxStaleMs: 3_000, onlyIfCached: true },
    ],
    [{ 'cache-control': 'max-stale' }, { maxStaleMs: Number.POSITIVE_INFINITY }],
    [{ 'cache-control': 'max-stale=x, min-fresh=x, max-age=x' }, { maxAgeMs: 0, minFreshMs: Number.POSITIVE_INFINITY, maxStaleMs: 0 }],
    [{ 'cache-control': 'no-cache' }, { maxAgeMs: 0 }],
    [{ pragma: 'no-cache' }, { maxAgeMs: 0 }],
    [{ pragma: 'no-cache', 'cache-control': 'x' }, { maxAgeMs: undefined }],
    [{ 'cache-control': 'what, is" this' }, { maxAgeMs: 0 }],
  ])('%o', (headers, expected) => {
    expect(demandsOf(headers)).toMatchObject(expected);
  });
});

describe('a range', () => {
  it('of an empty body is none, whatever is asked for', () => {
    expect([partOf('bytes=0-', 0), partOf('bytes=-5', 0), partOf('bytes=0-0', 0)]).toEqual(['none', 'none', 'none']);
  });

  it('is given under a date only if that is older than the answer by a second', () => {
    const headers = (date: string) =>
      new Map([
        ['last-modified', at(0)],
        ['date', date],
      ]);
    expect([isSameAnswer(at(0), headers(at(1))), isSameAnswer(at(0), headers(at(0))), isSameAnswer(at(1), headers(at(9)))]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe('variants', () => {
  const asks = (language: string) => ({ headers: { 'accept-language': language } }) as never;
  const answer = (variant: string, vary = ['accept-language']) => ({ vary, variant }) as never;

  it('are known for 2,000 keys, and for ten minutes in number', () => {
    let now = 0;
    const variants = new Variants(() => now);
    for (let key = 0; key <= 2_000; key++) variants.learn(`key ${key}`, answer('first'));
    expect(variants.of('key 0', asks('de'))).toBeUndefined();
    const told = Array.from({ length: 65 }, (_, index) => variants.of('key 9', asks(`l${index}`)));
    expect([typeof told[63], told[64]]).toEqual(['string', null]);
    now = 600_001;
    variants.learn('key 9', answer('first'));
    expect(typeof variants.of('key 9', asks('l64'))).toBe('string');
  });

  it('are forgotten when answers vary on something else', () => {
    const variants = new Variants();
    variants.learn('key', answer('first'));
    variants.unlearn('key', answer('other', ['accept']));
    expect(variants.of('key', asks('de'))).toBeUndefined();
  });
});
