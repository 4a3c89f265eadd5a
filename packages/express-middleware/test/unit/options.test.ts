import { createCollapser } from '@oneflight/core';
import { describe, expect, it } from 'vitest';

import { collapse } from '../../src/index.js';
import { checkCollapseOptions } from '../../src/options.js';

describe('the options of collapse', () => {
  it('have the documented defaults', () => {
    expect(checkCollapseOptions({})).toEqual({
      methods: new Set(['GET', 'HEAD']),
      key: undefined,
      identity: 'key',
      varyOn: [],
      skip: undefined,
      share: undefined,
      etag: true,
      cacheControl: undefined,
      policy: undefined,
      call: {},
      statusName: undefined,
      limits: { bodyBytesMax: 1_048_576, headersBytesMax: 16_384, capturedBytesMax: 67_108_864 },
    });
  });

  it('name each header to vary on once, whatever its case and place', () => {
    expect(checkCollapseOptions({ varyOn: ['X-B', 'Accept', 'x-b'] }).varyOn).toEqual(['accept', 'x-b']);
  });

  it('keep answers only where that is asked for', () => {
    expect(checkCollapseOptions({ cache: 'off', lingerMs: 0 }).policy).toBeUndefined();
    expect(checkCollapseOptions({ cache: 'http' }).policy).toEqual({ lingerMs: 0, obeys: true });
    expect(checkCollapseOptions({ lingerMs: 5 }).policy).toEqual({ lingerMs: 5, obeys: false });
  });

  it.each([
    [{ limit: {} }, /did you mean 'limits'/],
    [{ limits: { bodyBytes: 1 } }, /did you mean 'bodyBytesMax'/],
    [{ limits: { bodyBytesMax: -1 } }, /options\.limits\.bodyBytesMax to be a whole number/],
    [{ limits: 5 }, /options\.limits to be an object/],
    [{ methods: [] }, /options\.methods to be a list of 'GET', 'HEAD' and 'QUERY'/],
    [{ methods: ['POST'] }, /options\.methods/],
    [{ methods: ['GET', 'QUERY'] }, /options\.key with the method 'QUERY'/],
    [{ key: 'url' }, /options\.key to be a function/],
    [{ identity: 'none' }, /options\.identity to be 'key', 'ignore', 'bypass', or a function/],
    [{ varyOn: 'accept' }, /options\.varyOn to be a list/],
    [{ varyOn: ['not a name'] }, /options\.varyOn/],
    [{ skip: true }, /options\.skip/],
    [{ share: true }, /options\.share/],
    [{ etag: 'weak' }, /options\.etag to be one of true, false, 'strong'/],
    [{ cache: 'HTTP' }, /options\.cache to be one of 'off', 'http'/],
    [{ caching: 'http' }, /did you mean 'cache'/],
    [{ lingerMs: -1 }, /options\.lingerMs to be a number of milliseconds/],
    [{ linger: 1 }, /did you mean 'lingerMs'/],
    [{ cacheControl: 'private' }, /without 'private' and 'no-store'/],
    [{ cacheControl: 'public, no-store' }, /without 'private' and 'no-store'/],
    [{ cacheControl: 'a\r\nb: c' }, /options\.cacheControl/],
    [{ timeoutMs: 0 }, /options\.timeoutMs/],
    [{ whenDegraded: 'wait' }, /options\.whenDegraded/],
    [{ statusHeader: '' }, /options\.statusHeader/],
    [{ statusHeader: 'a\nb' }, /options\.statusHeader/],
    [[], /options to be an object/],
  ])('refuse %j', (options, message) => {
    const refused = expect.objectContaining({ name: 'TypeError', code: 'ERR_ONEFLIGHT_OPTION', message: expect.stringMatching(message) });
    expect(() => collapse(createCollapser(), options as never)).toThrow(refused);
  });

  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [{ method: 'GET', headers: {} }, 'a request: mount what collapse() returns, not collapse itself'],
  ])('come with a collapser; instead of %j one is asked for', (collapser, got) => {
    expect(() => collapse(collapser as never)).toThrow(`expected a collapser: collapse(createCollapser(…)), got ${got}`);
  });

  it.each([[undefined], [null], [{}]])('come with a collapser, and %j is none', (collapser) => {
    expect(() => collapse(collapser as never)).toThrow(expect.objectContaining({ code: 'ERR_ONEFLIGHT_OPTION' }));
  });
});
