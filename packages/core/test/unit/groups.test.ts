import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createCollapser, type CollapserEvent, type RunOptions } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { fates, manualLoader } from '../support/loads.js';

function setup(options = {}) {
  const clock = new ManualClock();
  return { clock, collapser: createCollapser({ clock, ...options }), load: manualLoader() };
}

describe('callers who join a load at the same moment', () => {
  it('share one promise, the first of them apart from the caller who loads', async () => {
    const { collapser, load } = setup();
    const calls = Array.from({ length: 5 }, () => collapser.run('seats', load));
    expect(new Set(calls).size).toBe(2);
    load.runs[0]?.end('v');
    expect(await Promise.all(calls)).toEqual(Array(5).fill('v'));
    expect(load.runs).toHaveLength(1);
    await collapser.close();
  });

  it.each<[string, () => Promise<unknown>[]]>([
    [
      'with equal options, whatever object they are in',
      (): Promise<unknown>[] => {
        const { collapser, load } = setup();
        return Array.from({ length: 3 }, () => collapser.run('seats', load, { ttlMs: 1_000, timeoutMs: 500 }));
      },
    ],
    [
      'with equal composite keys',
      (): Promise<unknown>[] => {
        const { collapser, load } = setup();
        return Array.from({ length: 3 }, () => collapser.run(['seats', 7], load));
      },
    ],
    [
      'through a wrapped function',
      (): Promise<unknown>[] => {
        const { collapser } = setup();
        const seatsOf = collapser.wrap(async (match: number) => match, { key: (match) => ['seats', match], ttlMs: 1_000 });
        return Array.from({ length: 3 }, () => seatsOf(7));
      },
    ],
  ])('share it %s', (_how, calls) => {
    const [, second, third] = calls();
    expect(second).toBe(third);
  });

  const OF_THEIR_OWN: readonly [string, RunOptions][] = [
    ['who may leave', { signal: new AbortController().signal }],
    ['who want a value of their own', { isolate: 'clone' }],
    ['who take what is offered early', { early: () => undefined }],
    ['who ask for a confirmed outcome', { freshness: 'confirmed' }],
    ['who ask for a load that starts later', { freshness: 'strict' }],
    ['whose errors are their own', { shareErrors: false }],
    ['whose loads may turn out to be private', { mayBePrivate: true }],
  ];
  it.each(OF_THEIR_OWN)('have promises of their own, %s', async (_who, options) => {
    const collapser = createCollapser();
    const load = manualLoader();
    const calls = Array.from({ length: 4 }, () => collapser.run('seats', load, options));
    expect(new Set(calls).size).toBe(4);
    const ends = Promise.allSettled(calls);
    await collapser.close({ drainMs: 0 });
    await ends;
  });

  it('are told apart by their options, also by those that mean nothing', async () => {
    const { collapser, load } = setup();
    const patient = () => collapser.run('seats', load, { timeoutMs: 500 });
    const calls = [collapser.run('seats', load), patient(), patient(), collapser.run('seats', load, { timeoutMs: 501 })];
    expect(calls[2]).toBe(calls[1]);
    expect(calls[3]).not.toBe(calls[1]);
    const named = (options: object) => collapser.run('seats', load, options);
    const unset = named({ ttlMs: undefined });
    await expect(named({ ttlMz: undefined })).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_OPTION' });
    load.runs[0]?.end('v');
    await Promise.all([...calls, unset]);
  });

  it.each([5, 'ttlMs', null])('do not come along with options that are none: %s', async (options) => {
    const { collapser, load } = setup();
    const calls = [collapser.run('seats', load), collapser.run('seats', load, {})];
    await expect(collapser.run('seats', load, options as never)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_OPTION' });
    load.runs[0]?.end('v');
    await Promise.all(calls);
  });

  it('get an error of their own options by rejection', async () => {
    const { collapser, load } = setup();
    const calls = [collapser.run('seats', load), collapser.run('seats', load, { ttlMs: 5 })];
    const options = Object.defineProperty({}, 'ttlMs', {
      enumerable: true,
      get() {
        throw new RangeError('thrown by the options');
      },
    });
    await expect(collapser.run('seats', load, options)).rejects.toThrow('thrown by the options');
    load.runs[0]?.end('v');
    await Promise.all(calls);
  });

  it('are told apart by options that change between two calls', async () => {
    const { collapser, load } = setup();
    const first = collapser.run('seats', load);
    const options = { timeoutMs: 500 };
    const second = collapser.run('seats', load, options);
    options.timeoutMs = 501;
    expect(collapser.run('seats', load, options)).not.toBe(second);
    load.runs[0]?.end('v');
    await first;
  });

  it('give up when their patience is over, each not before its own time', async () => {
    const { clock, collapser, load } = setup();
    const led = collapser.run('seats', load, { timeoutMs: 10_000 });
    const early = [1, 2].map(() => collapser.run('seats', load, { timeoutMs: 500 }));
    const ends = Promise.allSettled(early);
    await clock.advance(100);
    const late = [1, 2].map(() => collapser.run('seats', load, { timeoutMs: 500 }));
    expect(new Set([...early, ...late]).size).toBe(2);
    await clock.advance(400);
    await ends;
    expect(await fates([...early.slice(1), ...late.slice(1)])).toEqual(['error ERR_ONEFLIGHT_WAIT_TIMEOUT', 'pending']);
    const lateEnds = Promise.allSettled(late);
    await clock.advance(100);
    await lateEnds;
    expect(await fates(late)).toEqual(['error ERR_ONEFLIGHT_WAIT_TIMEOUT', 'error ERR_ONEFLIGHT_WAIT_TIMEOUT']);
    expect(collapser.stats()).toMatchObject({ waiters: 1, totals: { calls: 5, timeouts: 4 } });
    load.runs[0]?.end('v');
    expect(await led).toBe('v');
  });

  it('count one by one, in the totals, in events and among those who wait', async () => {
    const { collapser, load } = setup();
    const events: CollapserEvent[] = [];
    collapser.listen((event) => events.push(event));
    const calls = Array.from({ length: 4 }, () => collapser.run('seats', load));
    expect(collapser.stats()).toMatchObject({ waiters: 4, totals: { calls: 4 } });
    load.runs[0]?.end('v');
    await Promise.all(calls);
    expect(collapser.stats()).toMatchObject({ waiters: 0, totals: { calls: 4, leader: 1, local: 3 } });
    expect(events.filter(({ type }) => type === 'call').map((event) => ('outcome' in event ? event.outcome : ''))).toEqual([
      'leader',
      'local',
      'local',
      'local',
    ]);
    expect(events.find(({ type }) => type === 'load')).toMatchObject({ followers: 3 });
  });

  it('are no more than a flight may have', async () => {
    const { collapser, load } = setup({ limits: { waitersPerFlightMax: 3 } });
    const calls = Array.from({ length: 5 }, () => collapser.run('seats', load));
    expect(load.runs).toHaveLength(3);
    for (const run of load.runs) run.end('v');
    await Promise.all(calls);
    expect(collapser.stats().totals).toMatchObject({ leader: 1, local: 2, bypass: 2 });
  });

  it('do not join a flight that was invalidated at that moment', async () => {
    const { collapser, load } = setup();
    const before = [1, 2, 3].map(() => collapser.run('seats', load));
    await collapser.invalidate('seats');
    const after = [1, 2].map(() => collapser.run('seats', load));
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('new');
    expect(await Promise.all(after)).toEqual(['new', 'new']);
    load.runs[0]?.end('old');
    expect(await Promise.all(before)).toEqual(['old', 'old', 'old']);
  });

  it('get each misuse told, and none of them once the collapser is closed', async () => {
    const { collapser, load } = setup();
    const calls = [1, 2].map(() => collapser.run('seats', load));
    await expect(collapser.run('seats', undefined as never)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_LOADER' });
    const closed = collapser.close();
    await expect(collapser.run('seats', load)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' });
    load.runs[0]?.end('v');
    expect(await Promise.all(calls)).toEqual(['v', 'v']);
    await closed;
  });

  it('may come from inside other loads, but not from inside their own', async () => {
    const { collapser, load } = setup();
    let inside: Promise<unknown> | undefined;
    const led = collapser.run('seats', async () => {
      await setImmediate();
      inside = collapser.run('seats', load);
      await inside;
    });
    const failed = Promise.allSettled([led, ...[1, 2].map(() => collapser.run('seats', load))]);
    expect((await failed).map((end) => end.status === 'rejected' && end.reason.code)).toEqual(Array(3).fill('ERR_ONEFLIGHT_REENTRANT'));
    await expect(inside).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_REENTRANT' });
  });
});

describe('a load that turns out to be private', () => {
  it('lets those who share a promise go together, to one load for all of them', async () => {
    const { collapser, load } = setup();
    const led = collapser.run('seats', load, { mayBePrivate: true });
    const others = [1, 2, 3].map(() => collapser.run('seats', load));
    load.runs[0]?.context.unshareable();
    expect(load.runs.map(({ context }) => context.isAlone)).toEqual([false, false]);
    load.runs[0]?.end('private');
    load.runs[1]?.end('for all of them');
    expect(await led).toBe('private');
    expect(await Promise.all(others)).toEqual(Array(3).fill('for all of them'));
    expect(collapser.stats().totals).toMatchObject({ calls: 4, leader: 1, bypass: 1, local: 2, loads: 2 });
  });

  it('fails for everybody, whatever the loader does with the error, where its call did not say that it may be', async () => {
    const { collapser, load } = setup();
    const calls = [1, 2, 3].map(() => collapser.run('seats', load));
    const said = () => load.runs[0]?.context.unshareable();
    expect(said).toThrow('expected options.mayBePrivate: true');
    load.runs[0]?.end('private');
    const ends = await Promise.allSettled(calls);
    expect(ends.map((end) => end.status === 'rejected' && end.reason.code)).toEqual(Array(3).fill('ERR_ONEFLIGHT_OPTION'));
  });
});
