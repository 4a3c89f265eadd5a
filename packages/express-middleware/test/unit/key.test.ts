import type { Request } from 'express';
import { describe, expect, it } from 'vitest';

import { requestKey as keyOf, variantOf } from '../../src/key.js';
import { checkCollapseOptions, type CollapseOptions } from '../../src/options.js';

describe('requestKey', () => {
  it('is the same for equal requests, whatever else they say about themselves', () => {
    expect(requestKey(request({ headers: { 'user-agent': 'one' } }))).toEqual(requestKey(request({ headers: { 'user-agent': 'two' } })));
    expect(requestKey(request({ host: 'Shop.example' }))).toEqual(requestKey(request({})));
  });

  it.each([
    ['another method', { method: 'HEAD' }],
    ['another scheme', { protocol: 'http' }],
    ['another host', { host: 'other.example' }],
    ['another URL', { originalUrl: '/a?b=2' }],
    ['credentials', { headers: { authorization: 'Bearer one' } }],
    ['a cookie', { headers: { cookie: 'session=one' } }],
    ['a credential for a proxy', { headers: { 'proxy-authorization': 'Basic one' } }],
  ])('differs with %s', (_what, difference) => {
    expect(requestKey(request(difference))).not.toEqual(requestKey(request({})));
  });

  it('keeps the same text in different credential headers apart', () => {
    const keys = ['authorization', 'cookie', 'proxy-authorization'].map((name) => requestKey(request({ headers: { [name]: 'x' } })));
    expect(new Set(keys).size).toBe(3);
  });

  it('holds no credential in clear', () => {
    expect(JSON.stringify(requestKey(request({ headers: { authorization: 'Bearer top-secret' } })))).not.toContain('top-secret');
  });
});

describe('variantOf', () => {
  it('depends on the named headers alone', () => {
    const one = request({ headers: { accept: 'text/html', origin: 'https://one' } });
    const two = request({ headers: { accept: 'text/html', origin: 'https://two' } });
    expect(variantOf(one, ['accept'])).toBe(variantOf(two, ['accept']));
    expect(variantOf(one, ['accept', 'origin'])).not.toBe(variantOf(two, ['accept', 'origin']));
  });
});

function requestKey(of: Request, options: CollapseOptions = {}): string {
  return keyOf(of, checkCollapseOptions(options));
}

function request(difference: object): Request {
  const plain = { method: 'GET', protocol: 'https', host: 'shop.example', originalUrl: '/a?b=1', headers: {} };
  return { ...plain, ...difference } as unknown as Request;
}
