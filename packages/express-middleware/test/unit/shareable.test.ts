import type { Request } from 'express';
import { describe, expect, it } from 'vitest';

import { type Head, mayCollapse, mayShare, varyOf } from '../../src/shareable.js';

describe('mayCollapse', () => {
  it.each([
    ['a plain GET', 'GET', {}, true],
    ['a HEAD', 'HEAD', {}, true],
    ['a GET that says it has no body', 'GET', { 'content-length': '0' }, true],
    ['a GET that wants it fresh', 'GET', { 'cache-control': 'no-cache' }, true],
    ['a POST', 'POST', {}, false],
    ['a GET with a body', 'GET', { 'content-length': '2' }, false],
    ['a GET with a body of unknown length', 'GET', { 'transfer-encoding': 'chunked' }, false],
    ['a request for a part', 'GET', { range: 'bytes=0-9' }, false],
    ['a condition on a change', 'GET', { 'if-match': '"1"' }, false],
    ['an upgrade', 'GET', { upgrade: 'websocket' }, false],
    ['a request that forbids storing', 'GET', { 'cache-control': 'max-age=0, No-Store' }, false],
  ])('decides on %s', (_what, method, headers, expected) => {
    expect(mayCollapse({ method, headers } as unknown as Request)).toBe(expected);
  });
});

describe('mayShare', () => {
  it.each([
    ['a plain answer', 200, {}, true],
    ['an answer for caches', 200, { 'cache-control': 'public, max-age=5' }, true],
    ['an answer that is to be revalidated', 200, { 'cache-control': 'no-cache' }, true],
    ['an error', 500, {}, false],
    ['a redirect', 302, { location: '/' }, false],
    ['a part', 206, {}, false],
    ['an answer with a cookie', 200, { 'set-cookie': ['a=1'] }, false],
    ['a private answer', 200, { 'cache-control': 'max-age=5, PRIVATE' }, false],
    ['an answer private in one field', 200, { 'cache-control': 'private="x-user"' }, false],
    ['an answer not to be stored', 200, { 'cache-control': 'no-store' }, false],
    ['an answer not to be stored by a CDN', 200, { 'cdn-cache-control': 'no-store' }, false],
    ['an answer that varies on everything', 200, { vary: 'accept, *' }, false],
    ['a stream of events', 200, { 'content-type': 'text/event-stream; charset=utf-8' }, false],
    ['an answer with trailers', 200, { trailer: 'digest' }, false],
  ])('decides on %s', (_what, status, headers, expected) => {
    expect(mayShare({ status, headers: headerMap(headers) })).toBe(expected);
  });
});

describe('varyOf', () => {
  it('gives each name once, in an order that does not depend on the handler', () => {
    expect(varyOf(headerMap({ vary: ['Origin, Accept', 'accept'] }))).toEqual(['accept', 'origin']);
  });
});

function headerMap(headers: Record<string, string | string[]>): Head['headers'] {
  return new Map(Object.entries(headers));
}
