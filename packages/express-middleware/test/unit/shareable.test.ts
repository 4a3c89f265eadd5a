import type { Request } from 'express';
import { describe, expect, it } from 'vitest';

import { type Head, ownBusinessOf, varyOf, whyUnshareable } from '../../src/shareable.js';

describe('ownBusinessOf', () => {
  it.each([
    ['a plain GET', 'GET', {}, undefined],
    ['a HEAD', 'HEAD', {}, undefined],
    ['a GET that says it has no body', 'GET', { 'content-length': '0' }, undefined],
    ['a GET that wants it fresh', 'GET', { 'cache-control': 'no-cache' }, undefined],
    ['a QUERY with its body', 'QUERY', { 'content-length': '2' }, undefined],
    ['a GET with a body', 'GET', { 'content-length': '2' }, 'body'],
    ['a GET with a body of unknown length', 'GET', { 'transfer-encoding': 'chunked' }, 'body'],
    ['a request for a part', 'GET', { range: 'bytes=0-9' }, 'range'],
    ['a request for a part if it is the same', 'GET', { 'if-range': '"1"' }, 'range'],
    ['a condition on a change', 'GET', { 'if-match': '"1"' }, 'condition'],
    ['a condition on the time of a change', 'GET', { 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 'condition'],
    ['an upgrade', 'GET', { upgrade: 'websocket' }, 'upgrade'],
    ['a request that forbids storing', 'GET', { 'cache-control': 'max-age=0, No-Store' }, 'no_store'],
  ])('decides on %s', (_what, method, headers, expected) => {
    expect(ownBusinessOf({ method, headers } as Request)).toBe(expected);
  });
});

describe('whyUnshareable', () => {
  it.each<[string, number, Record<string, string | string[]>, string | undefined]>([
    ['a plain answer', 200, {}, undefined],
    ['an answer for caches', 200, { 'cache-control': 'public, max-age=5' }, undefined],
    ['an answer that is to be revalidated', 200, { 'cache-control': 'no-cache' }, undefined],
    ['an answer without content', 204, {}, undefined],
    ['a permanent redirect', 301, { location: '/' }, undefined],
    ['what is not there', 404, {}, undefined],
    ['what is not there any more', 410, {}, undefined],
    ...[100, 101, 103, 202, 206, 302, 303, 304, 307].map(
      (status) => [`status ${status}`, status, {}, 'status'] as [string, number, Record<string, string>, string],
    ),
    ...[
      400, 401, 402, 403, 405, 406, 408, 409, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 429, 431, 451, 500, 501, 502, 503, 504,
    ].map((status) => [`status ${status}`, status, {}, 'status'] as [string, number, Record<string, string>, string]),
    ['an answer with a cookie', 200, { 'set-cookie': ['a=1'] }, 'set_cookie'],
    ['a private answer', 200, { 'cache-control': 'max-age=5, PRIVATE' }, 'cache_control'],
    ['an answer private in one of two lines', 200, { 'cache-control': ['max-age=5', 'private'] }, 'cache_control'],
    ['an answer private in one field', 200, { 'cache-control': 'private="x-user, x-name"' }, 'cache_control'],
    ['an answer private among quotes', 200, { 'cache-control': 'ext="a, private"' }, 'cache_control'],
    ['an answer with a field to be revalidated', 200, { 'cache-control': 'no-cache="set-cookie"' }, 'cache_control'],
    ['an answer not to be stored', 200, { 'cache-control': 'no-store' }, 'cache_control'],
    ['an answer not to be stored by a CDN', 200, { 'cdn-cache-control': 'no-store' }, 'cache_control'],
    ['an answer not to be stored by a surrogate', 200, { 'surrogate-control': 'no-store' }, 'cache_control'],
    ['an answer that varies on everything', 200, { vary: 'accept, *' }, 'vary'],
    ['an answer that varies on too much', 200, { vary: Array.from({ length: 65 }, (_, n) => `x-${n}`).join() }, 'vary'],
    ['a stream of events', 200, { 'content-type': 'text/event-stream; charset=utf-8' }, 'streaming'],
    ['an answer with trailers', 200, { trailer: 'digest' }, 'trailer'],
    ['an answer that clears what a client keeps', 200, { 'clear-site-data': '"cookies"' }, 'header'],
    ['an answer that asks who it is', 200, { 'www-authenticate': 'Negotiate' }, 'header'],
    ['a stream of pictures', 200, { 'content-type': 'multipart/x-mixed-replace; boundary=x' }, 'streaming'],
    ['a page with a nonce', 200, { 'content-type': 'text/html', 'content-security-policy': "script-src 'nonce-abc'" }, 'nonce'],
    ['data under a policy with a nonce', 200, { 'content-type': 'application/json', 'content-security-policy': "'nonce-abc'" }, undefined],
  ])('decides on %s', (_what, status, headers, expected) => {
    expect(whyUnshareable({ status, headers: headerMap(headers) })).toBe(expected);
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
