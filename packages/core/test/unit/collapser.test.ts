import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createCollapser, type FlightResult } from '../../src/index.js';
import { ManualClock } from '../../src/testing/index.js';
import { fates, manualLoader } from '../support/loads.js';

function setup(options = {}) {
  const clock = new ManualClock();
  return { clock, collapser: createCollapser({ clock, ...options }) };
}

describe('a collapser without a coordinator', () => {
  it('answers equal calls of the same moment by one load', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const calls = Array.from({ length: 5 }, () => collapser.run('k', load));
    load.runs[0]?.end('v');
    expect(await Promise.all(calls)).toEqual(['v', 'v', 'v', 'v', 'v']);
    expect(load.runs).toHaveLength(1);
  });

  it('loads again for a call that comes after the load ended', async () => {
    const { collapser } = setup();
    let loads = 0;
    const load = () => ++loads;
    expect([await collapser.run('k', load), await collapser.run('k', load)]).toEqual([1, 2]);
  });

  it('tells how each caller came by its value', async () => {
    const { clock, collapser } = setup();
    const load = manualLoader();
    const first = collapser.flight('k', load);
    await clock.advance(10);
    const second = collapser.flight('k', load);
    await clock.advance(5);
    load.runs[0]?.end('v');
    const told = ({ source, waitedMs, ageMs, value }: FlightResult<string>) => ({ source, waitedMs, ageMs, value });
    expect([told(await first), told(await second)]).toEqual([
      { source: 'leader', waitedMs: 15, ageMs: 0, value: 'v' },
      { source: 'local', waitedMs: 5, ageMs: 0, value: 'v' },
    ]);
    expect((await first).flightId).toBe((await second).flightId);
  });

  it('wraps a function, which then collapses by the key of its arguments', async () => {
    const { collapser } = setup();
    const seen: string[][] = [];
    const fetchUser = collapser.wrap(
      async (id: number, region: string) => {
        seen.push([String(id), region]);
        return `${region}/${id}`;
      },
      { key: (id, region) => ['user', id, region] },
    );
    const users = await Promise.all([fetchUser(1, 'eu'), fetchUser(1, 'eu'), fetchUser(2, 'eu')]);
    expect(users).toEqual(['eu/1', 'eu/1', 'eu/2']);
    expect(seen).toEqual([
      ['1', 'eu'],
      ['2', 'eu'],
    ]);
  });

  it('ends a wait at its own timeoutMs and lets the load go on for the others', async () => {
    const { clock, collapser } = setup();
    const load = manualLoader();
    const patient = collapser.run('k', load);
    const hasty = collapser.run('k', load, { timeoutMs: 50 });
    const ended = Promise.allSettled([hasty]);
    await clock.advance(51);
    await ended;
    await expect(hasty).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_WAIT_TIMEOUT', timeoutMs: 50 });
    expect(load.runs[0]?.context.signal.aborted).toBe(false);
    load.runs[0]?.end('v');
    expect(await patient).toBe('v');
  });

  it("ends a wait by its caller's signal, with the signal's reason", async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const controller = new AbortController();
    const patient = collapser.run('k', load);
    const leaving = collapser.run('k', load, { signal: controller.signal });
    controller.abort(new Error('gone home'));
    await expect(leaving).rejects.toThrow('gone home');
    load.runs[0]?.end('v');
    expect(await patient).toBe('v');
  });

  it('listens to a signal once, however many calls share it, and not at all once they are answered', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const { signal } = new AbortController();
    const calls = Array.from({ length: 50 }, (_, index) => collapser.run(['k', index % 3], load, { signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const run of load.runs) run.end('v');
    await Promise.all(calls);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('does not load for a caller that left before it came', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    await expect(collapser.run('k', load, { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
    expect(load.runs).toHaveLength(0);
  });

  it("aborts the loader's signal when the last caller has left, and loads anew for the next", async () => {
    const { clock, collapser } = setup();
    const load = manualLoader();
    const both = Promise.allSettled([10, 20].map((timeoutMs) => collapser.run('k', load, { timeoutMs })));
    const signal = load.runs[0]?.context.signal;
    await clock.advance(15);
    expect(signal?.aborted).toBe(false);
    await clock.advance(10);
    expect(signal?.aborted).toBe(true);
    await both;
    const next = collapser.run('k', load);
    load.runs[1]?.end('v');
    expect(await next).toBe('v');
  });

  it('ends a load at loadTimeoutMs for all its callers and aborts its signal', async () => {
    const { clock, collapser } = setup();
    const load = manualLoader();
    const calls = [collapser.run('k', load, { loadTimeoutMs: 100 }), collapser.run('k', load)];
    const ended = Promise.allSettled(calls);
    const signal = load.runs[0]?.context.signal;
    await clock.advance(101);
    const codes = (await ended).map((end) => (end.status === 'rejected' ? end.reason.code : end.value));
    expect(codes).toEqual(['ERR_ONEFLIGHT_LOAD_TIMEOUT', 'ERR_ONEFLIGHT_LOAD_TIMEOUT']);
    expect(signal?.reason).toMatchObject({ code: 'ERR_ONEFLIGHT_LOAD_TIMEOUT' });
    load.runs[0]?.end('too late');
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
  });

  it("gives every caller the loader's own error, untouched", async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const calls = Promise.allSettled([collapser.run('k', load), collapser.run('k', load)]);
    const error = new Error('database on fire');
    load.runs[0]?.fail(error);
    expect((await calls).map((end) => end.status === 'rejected' && end.reason === error)).toEqual([true, true]);
  });

  it('gives an error that is not shared to its own caller only, and the next caller loads', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const calls = Array.from({ length: 3 }, () => collapser.run('k', load, { shareErrors: false }));
    const ends = Promise.allSettled(calls);
    load.runs[0]?.fail(new Error('first'));
    await expect(calls[0]).rejects.toThrow('first');
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v');
    expect((await ends).map((end) => end.status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
  });

  it('shares an error after three loads in a row, so that a failing key is no storm', async () => {
    const { collapser } = setup();
    let loads = 0;
    const load = async () => {
      loads++;
      throw new Error(`failure ${loads}`);
    };
    const ends = await Promise.allSettled(Array.from({ length: 50 }, () => collapser.run('k', load, { shareErrors: false })));
    expect(loads).toBe(3);
    const messages = ends.map((end) => (end.status === 'rejected' ? end.reason.message : 'value'));
    expect(messages.slice(0, 3)).toEqual(['failure 1', 'failure 2', 'failure 3']);
    expect(new Set(messages.slice(3))).toEqual(new Set(['failure 3']));
  });

  it('lets a function decide which errors are shared, and shares when that function fails', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const shareErrors = (error: unknown) => error instanceof RangeError;
    const calls = [1, 2].map(() => collapser.run('k', load, { shareErrors }));
    const ends = Promise.allSettled(calls);
    load.runs[0]?.fail(new RangeError('for all'));
    expect((await ends).map((end) => end.status)).toEqual(['rejected', 'rejected']);
    const broken = [1, 2].map(() => collapser.run('k', load, { shareErrors: () => JSON.parse('{') }));
    const brokenEnds = Promise.allSettled(broken);
    load.runs[1]?.fail(new Error('for all too'));
    expect((await brokenEnds).map((end) => end.status)).toEqual(['rejected', 'rejected']);
    expect(load.runs).toHaveLength(2);
  });

  it('refuses a loader that runs its own key, also through another key, instead of waiting for itself', async () => {
    const { collapser } = setup();
    await expect(collapser.run('a', () => collapser.run('a', () => 1))).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_REENTRANT' });
    const around = collapser.run('a', () => collapser.run('b', () => collapser.run('a', () => 1)));
    await expect(around).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_REENTRANT' });
    expect(await collapser.run('a', () => collapser.run('b', () => 2))).toBe(2);
  });

  it('lets work that a loader left behind run the key once the load is over', async () => {
    const { collapser } = setup();
    let later: () => Promise<number> = async () => 0;
    await collapser.run('a', async () => {
      const { AsyncResource } = await import('node:async_hooks');
      later = AsyncResource.bind(() => collapser.run('a', () => 2));
    });
    expect(await later()).toBe(2);
  });

  it('lets everybody but the leader load alone once a loader says its answer is unshareable', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const calls = Array.from({ length: 3 }, () => collapser.flight('k', load, { mayBePrivate: true }));
    load.runs[0]?.context.unshareable();
    expect(load.runs).toHaveLength(3);
    const late = collapser.flight('k', load);
    for (const [index, run] of load.runs.entries()) run.end(`answer ${index}`);
    const told = (await Promise.all([...calls, late])).map(({ source, value }) => `${source} ${value}`);
    expect(told).toEqual(['leader answer 0', 'bypass answer 1', 'bypass answer 2', 'leader answer 3']);
  });

  it('only counts in observe mode', async () => {
    const { collapser } = setup({ mode: 'observe' });
    const load = manualLoader();
    const calls = Array.from({ length: 4 }, () => collapser.flight('k', load));
    for (const [index, run] of load.runs.entries()) run.end(String(index));
    expect((await Promise.all(calls)).map(({ source, value }) => `${source} ${value}`)).toEqual([
      'bypass 0',
      'bypass 1',
      'bypass 2',
      'bypass 3',
    ]);
    expect(collapser.stats().totals).toMatchObject({ calls: 4, loads: 4, wouldCollapse: 3 });
    expect(collapser.stats()).toMatchObject({ flights: 0, joinable: 0 });
  });

  it('loads without collapsing over a limit, and counts it', async () => {
    const { collapser } = setup({ limits: { flightsMax: 1, waitersPerFlightMax: 2, keyBytesMax: 10 } });
    const load = manualLoader();
    const calls = [collapser.flight('a', load), collapser.flight('a', load), collapser.flight('a', load), collapser.flight('b', load)];
    for (const run of load.runs) run.end('v');
    expect((await Promise.all(calls)).map(({ source }) => source)).toEqual(['leader', 'local', 'bypass', 'bypass']);
    expect((await collapser.flight('a key of 17 bytes', () => 1)).source).toBe('bypass');
    expect(collapser.stats().totals.bypass).toBe(3);
  });
});

describe('isolate', () => {
  it("'clone' gives each caller a copy that nobody else's change shows in", async () => {
    const { collapser } = setup();
    const load = manualLoader<{ list: number[] }>();
    const calls = [1, 2, 3].map(() => collapser.run('k', load, { isolate: 'clone' }));
    load.runs[0]?.end({ list: [3, 1, 2] });
    const [first, second, third] = await Promise.all(calls);
    first?.list.sort();
    second?.list.push(9);
    expect([first?.list, second?.list, third?.list]).toEqual([
      [1, 2, 3],
      [3, 1, 2, 9],
      [3, 1, 2],
    ]);
  });

  it("'freeze' hands out the shared value frozen, or a clone where it holds what cannot be frozen", async () => {
    const { collapser } = setup();
    const value = { rows: [{ id: 1 }] };
    const frozen = await collapser.run('k', () => value, { isolate: 'freeze' });
    expect(frozen).toBe(value);
    expect(() => frozen.rows.push({ id: 2 })).toThrow(TypeError);
    const withMap = { at: new Map([[1, 2]]) };
    const copied = await collapser.run('k', () => withMap, { isolate: 'freeze' });
    copied.at.set(1, 3);
    expect(withMap.at.get(1)).toBe(2);
  });

  it("'clone' of what cannot be cloned is that caller's error alone", async () => {
    const { collapser } = setup();
    const load = manualLoader<{ run(): void }>();
    const calls = [collapser.run('k', load), collapser.run('k', load, { isolate: 'clone' })];
    const ends = Promise.allSettled(calls);
    load.runs[0]?.end({ run() {} });
    expect((await ends).map((end) => (end.status === 'rejected' ? end.reason.code : 'value'))).toEqual(['value', 'ERR_ONEFLIGHT_PAYLOAD']);
  });
});

describe('close', () => {
  it('lets flights end, refuses new calls, and can be called twice', async () => {
    const { collapser } = setup();
    const load = manualLoader();
    const call = collapser.run('k', load);
    const closed = Promise.all([collapser.close(), collapser.close()]);
    await expect(collapser.run('k', load)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' });
    await expect(collapser.invalidate('k')).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' });
    load.runs[0]?.end('v');
    expect(await call).toBe('v');
    await closed;
  });

  it('ends what is left after drainMs: callers get ClosedError, the loader its signal', async () => {
    const { clock, collapser } = setup();
    const load = manualLoader();
    const call = collapser.run('k', load);
    const signal = load.runs[0]?.context.signal;
    const ended = Promise.all([expect(call).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' }), collapser.close({ drainMs: 100 })]);
    await clock.advance(101);
    await ended;
    expect(signal?.aborted).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it('runs at the end of an await using block', async () => {
    const { collapser } = setup();
    await collapser[Symbol.asyncDispose]();
    expect(await fates([collapser.run('k', () => 1)])).toEqual(['error ERR_ONEFLIGHT_CLOSED']);
  });
});

describe('after any flight', () => {
  it('nothing is left: no map entry, waiter, timer or listener', async () => {
    const { clock, collapser } = setup();
    const controller = new AbortController();
    const ends = [
      collapser.run('a', () => 1, { signal: controller.signal }),
      collapser.run('b', () => Promise.reject(new Error('b'))),
      collapser.run('c', () => {
        throw new Error('c');
      }),
      collapser.run('d', () => new Promise(() => undefined), { timeoutMs: 5 }),
      collapser.run('e', () => new Promise(() => undefined), { loadTimeoutMs: 5 }),
    ];
    const all = Promise.allSettled(ends);
    await clock.advance(10);
    await all;
    const { totals, ...now } = collapser.stats();
    expect(now).toEqual({ flights: 0, joinable: 0, loading: 0, waiters: 0, watchers: 0, owed: 0, degraded: false });
    expect(totals.leader + totals.errors + totals.timeouts).toBe(5);
    expect(clock.pending).toBe(0);
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
  });
});
