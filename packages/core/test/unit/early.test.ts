import { describe, expect, it } from 'vitest';

import { createCollapser, type RunOptions } from '../../src/index.js';
import { memoryHub } from '../../src/testing/index.js';
import { fates, manualLoader } from '../support/loads.js';

const taking: RunOptions<string> = { early: (offered) => ({ value: `early ${String(offered)}` }) };
const waiting: RunOptions<string> = { early: () => undefined };

describe('what a load offers before its end', () => {
  it('answers those in this process who take it, now and when they join; the others wait on', async () => {
    const collapser = createCollapser();
    const load = manualLoader();
    const led = collapser.flight('key', load, taking);
    const takes = collapser.flight('key', load, taking);
    const waits = collapser.run('key', load, waiting);
    const plain = collapser.run('key', load);
    await expect.poll(() => load.runs.length).toBe(1);
    load.runs[0]?.context.offer('head');
    expect(await takes).toMatchObject({ value: 'early head', source: 'local' });
    load.runs[0]?.context.offer('head and more');
    expect(await collapser.run('key', load, taking)).toBe('early head and more');
    expect(await fates([led, waits, plain])).toEqual(['pending', 'pending', 'pending']);
    load.runs[0]?.end('whole');
    expect(await led).toMatchObject({ value: 'whole', source: 'leader' });
    expect(await Promise.all([waits, plain])).toEqual(['whole', 'whole']);
    expect(load.runs).toHaveLength(1);
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
    expect(collapser.stats().totals).toMatchObject({ leader: 1, local: 4 });
  });

  it('stays in its process: another replica gets the outcome', async () => {
    const hub = memoryHub();
    const [here, there] = [createCollapser({ coordinator: hub.coordinator() }), createCollapser({ coordinator: hub.coordinator() })];
    const load = manualLoader();
    const led = here.run('key', load);
    await expect.poll(() => load.runs.length).toBe(1);
    const remote = there.run('key', load, taking);
    await expect.poll(() => there.stats().waiters).toBe(1);
    load.runs[0]?.context.offer('head');
    load.runs[0]?.end('whole');
    expect(await Promise.all([led, remote])).toEqual(['whole', 'whole']);
  });

  it('is for nobody once the load has said that its answer is for its own caller, or has ended', async () => {
    const collapser = createCollapser();
    const load = manualLoader();
    const first = collapser.run('key', load, { ...taking, mayBePrivate: true });
    const second = collapser.run('key', load, taking);
    await expect.poll(() => load.runs.length).toBe(1);
    load.runs[0]?.context.unshareable();
    expect(load.runs.map(({ context }) => context.isAlone)).toEqual([false, true]);
    load.runs[0]?.context.offer('head');
    load.runs[1]?.context.offer('head');
    expect(await fates([first, second])).toEqual(['pending', 'pending']);
    for (const run of load.runs) run.end('own');
    expect(await Promise.all([first, second])).toEqual(['own', 'own']);
    load.runs[0]?.context.offer('late');
  });

  it('does not let an error of the load reach those who took it, and what `early` throws is the error of that caller', async () => {
    const collapser = createCollapser();
    const load = manualLoader();
    const led = collapser.run('key', load);
    const took = collapser.run('key', load, taking);
    const throws = collapser.run('key', load, { early: () => JSON.parse('{') as never });
    const broke = expect(throws).rejects.toBeInstanceOf(SyntaxError);
    await expect.poll(() => load.runs.length).toBe(1);
    load.runs[0]?.context.offer('head');
    load.runs[0]?.fail(new Error('gone'));
    await expect(led).rejects.toThrow('gone');
    expect(await took).toBe('early head');
    await broke;
  });

  it('leaves nobody who waits: then the signal of the load aborts', async () => {
    const collapser = createCollapser();
    const load = manualLoader();
    const leaves = new AbortController();
    const led = collapser.run('key', load, { signal: leaves.signal });
    const took = collapser.run('key', load, taking);
    await expect.poll(() => load.runs.length).toBe(1);
    leaves.abort();
    await expect(led).rejects.toThrow();
    const { signal } = load.runs[0]?.context ?? expect.fail('no load');
    expect(signal.aborted).toBe(false);
    load.runs[0]?.context.offer('head');
    expect(await took).toBe('early head');
    expect(signal.aborted).toBe(true);
    await expect.poll(() => collapser.stats()).toMatchObject({ flights: 0, joinable: 0 });
  });

  it('refuses an option `early` that is no function', async () => {
    await expect(createCollapser().run('key', () => 1, { early: 'head' as never })).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_OPTION' });
  });
});
