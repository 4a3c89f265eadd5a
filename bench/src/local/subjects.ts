import { createCollapser } from '@oneflight/core';
import { createCache } from 'async-cache-dedupe';
import { Loader } from 'layered-loader';
import pMemoize from 'p-memoize';
import { coalesceAsync } from 'promise-coalesce';

/** Joins the load of a key that runs, or begins one. The value does not matter here. */
export interface Subject {
  readonly name: string;
  readonly setup: string;
  readonly role: 'floor' | 'ours' | 'other';
  readonly get: (key: string, load: () => Promise<string>) => Promise<unknown>;
}

interface Call {
  readonly key: string;
  readonly load: () => Promise<string>;
}

/** Everything that collapses inside a process and keeps nothing, or can be told to. No Redis anywhere. */
export function subjects(): Subject[] {
  const collapser = createCollapser();
  const patient = { timeoutMs: 10_000 };
  const memoized = pMemoize((_key: string, load: () => Promise<string>) => load(), { cache: false });
  const dedupe = createCache({ ttl: 0 }).define('fetch', { serialize: ({ key }: Call) => key }, ({ load }: Call) => load());
  const loader = new Loader<string, Call, Call>({
    dataSourceGetOneFn: ({ load }) => load(),
    cacheKeyFromLoadParamsResolver: ({ key }) => key,
  });
  return [
    { role: 'floor', name: 'bare Map', setup: 'an entry per running load, deleted when it ends', get: bareMap() },
    { role: 'ours', name: 'oneflight', setup: 'no coordinator, no options', get: (key, load) => collapser.run(key, load) },
    {
      role: 'other',
      name: 'oneflight with options',
      setup: 'the same with `timeoutMs`',
      get: (key, load) => collapser.run(key, load, patient),
    },
    {
      role: 'other',
      name: 'oneflight, composite key',
      setup: "keys such as `['seats', 7]`",
      get: (key, load) => collapser.run(['seats', key], load),
    },
    { role: 'other', name: 'promise-coalesce', setup: '', get: coalesceAsync },
    { role: 'other', name: 'p-memoize', setup: '`cache: false`', get: memoized },
    { role: 'other', name: 'async-cache-dedupe', setup: '`ttl: 0`', get: (key, load) => dedupe.fetch({ key, load }) },
    { role: 'other', name: 'layered-loader', setup: 'no caches', get: (key, load) => loader.get({ key, load }) },
  ];
}

function bareMap(): Subject['get'] {
  const running = new Map<string, Promise<string>>();
  return (key, load) => {
    const known = running.get(key);
    if (known !== undefined) return known;
    const promise = load().finally(() => running.delete(key));
    running.set(key, promise);
    return promise;
  };
}
