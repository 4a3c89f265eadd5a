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

describe('requestKey with a key of the application', () => {
  const key = (): string => 'same';
  const route = (path: string, handle: unknown = mounted): object => ({ path, stack: [{ handle }] });

  it('is the same for all URLs of the route that it is mounted on', () => {
    const one = request({ originalUrl: '/a/1?b=1', baseUrl: '', path: '/a/1', route: route('/a/:id') });
    const two = request({ originalUrl: '/a/2?b=2', baseUrl: '', path: '/a/2', route: route('/a/:id') });
    expect(requestKey(one, { key })).toBe(requestKey(two, { key }));
  });

  it.each([
    ['another route', { route: route('/b/:id') }],
    ['another place of the router', { baseUrl: '/mounted', route: route('/a/:id') }],
    ['no route', { route: undefined }],
    ['a route that it only passed', { route: route('/a/:id', () => {}) }],
    ['another host', { host: 'other.example', route: route('/a/:id') }],
    ['a cookie', { headers: { cookie: 'a' }, route: route('/a/:id') }],
  ])('differs with %s', (_what, difference) => {
    const plain = { baseUrl: '', path: '/a/1', route: route('/a/:id') };
    expect(requestKey(request({ ...plain, ...difference }), { key })).not.toBe(requestKey(request(plain), { key }));
  });

  it('is made of paths where it is mounted on no route', () => {
    const at = (path: string): Request => request({ baseUrl: '', path, route: route('*', () => {}) });
    const [one, two] = [at('/a/1'), at('/a/2')];
    expect(requestKey(one, { key })).not.toBe(requestKey(two, { key }));
  });

  it.each<[string, unknown, unknown]>([
    ['a text and a list of it', 'a', ['a']],
    ['two parts and one', ['a', 'b'], ['a,b']],
    ['a number and a text', [1], ['1']],
    ['a number and a bigint', [1], [1n]],
    ['nothing and a text', [null], ['null']],
    ['a boolean and a text', [true], ['true']],
    ['a property and a property of another type', { a: 1 }, { a: '1' }],
    ['a property and a list of one', { a: [1] }, { a: 1 }],
  ])('tells %s apart', (_what, one, two) => {
    const keys = [one, two].map((value) => requestKey(request({ baseUrl: '', path: '/' }), { key: () => value as never }));
    expect(keys[0]).not.toBe(keys[1]);
  });

  it('does not depend on the order of properties', () => {
    const keyed = (value: object): string => requestKey(request({ baseUrl: '', path: '/' }), { key: () => value as never });
    expect(keyed({ a: 1, b: [2] })).toBe(keyed({ b: [2], a: 1 }));
  });
});

describe('requestKey with headers to vary on', () => {
  it('differs with their values, and with their absence', () => {
    const keys = ['de', 'fr', undefined].map((language) =>
      requestKey(request({ headers: { 'accept-language': language } }), { varyOn: ['Accept-Language'] }),
    );
    expect(new Set(keys).size).toBe(3);
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

const mounted = (): void => {};

function requestKey(of: Request, options: CollapseOptions = {}): string {
  return keyOf(of, checkCollapseOptions(options), mounted);
}

function request(difference: object): Request {
  const plain = { method: 'GET', protocol: 'https', host: 'shop.example', originalUrl: '/a?b=1', headers: {} };
  return { ...plain, ...difference } as unknown as Request;
}
