import { createHook } from 'node:async_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { createCollapser, type RunOptions } from '../../src/index.js';

/*
 * What a call costs, in counts that are the same on every machine. A number that grows needs a reason in docs/performance.md;
 * one that falls is lowered here, so that it stays.
 */
const WAITER_BYTES_MAX = 16;
const WAITER_OF_ITS_OWN_BYTES_MAX = 700;
const FLIGHT_BYTES_MAX = 2_000;

async function made(what: () => unknown): Promise<Record<string, number>> {
  const counts: Record<string, number> = { PROMISE: 0, Timeout: 0 };
  const hook = createHook({
    init(_id, type) {
      if (type in counts) counts[type] = (counts[type] ?? 0) + 1;
    },
  });
  // Whatever was under way before is not counted.
  await new Promise((resolve) => setImmediate(resolve));
  hook.enable();
  const under = what();
  // Awaiting nothing would make promises too.
  if (under instanceof Promise) await under;
  hook.disable();
  return counts;
}

describe('a call that joins a flight', () => {
  it('makes no promise and no timer beside those who joined at the same moment: they share one of each', async () => {
    const collapser = createCollapser();
    let finish: (value: string) => void = () => {};
    const first = collapser.run('seats', () => new Promise<string>((resolve) => (finish = resolve)));
    const calls: Promise<string>[] = [];
    const counts = await made(() => {
      for (let n = 0; n < 100; n += 1) calls.push(collapser.run('seats', async () => 'never'));
    });
    finish('seats');
    expect(await Promise.all([first, ...calls])).toEqual(Array(101).fill('seats'));
    expect(counts).toEqual({ PROMISE: 1, Timeout: 1 });
    await collapser.close();
  });

  it('makes one promise and no timer with a patience of its own that is longer than what the flight watches already', async () => {
    const collapser = createCollapser();
    const first = collapser.run('seats', () => new Promise<string>(() => {}), { timeoutMs: 1_000 }).catch(() => undefined);
    const calls: Promise<unknown>[] = [];
    const counts = await made(() => {
      for (let n = 0; n < 100; n += 1) {
        calls.push(collapser.run('seats', async () => 'never', { timeoutMs: 2_000 + n }));
      }
    });
    const ends = Promise.allSettled([first, ...calls]);
    // The timer is for all of them: it ends the moment in which others may come along.
    expect(counts).toEqual({ PROMISE: 100, Timeout: 1 });
    await collapser.close({ drainMs: 0 });
    await ends;
  });
});

describe('a call that nobody joins', () => {
  it('makes four promises with those of its loader and of who awaits it, and one timer for its patience and the limit of its load', async () => {
    const collapser = createCollapser();
    const load = async (): Promise<string> => 'seats';
    await collapser.run('warm-up', load);
    const counts = await made(async () => {
      for (let n = 0; n < 100; n += 1) await collapser.run(`alone-${n}`, load);
    });
    expect({ promises: Math.floor((counts['PROMISE'] ?? 0) / 100), timers: (counts['Timeout'] ?? 0) / 100 }).toEqual({
      promises: 4,
      timers: 1,
    });
    await collapser.close();
  });
});

/** What `count` times `make` leaves on the heap, for each of them, in bytes. */
function bytesEach(count: number, make: (n: number) => unknown): number {
  setFlagsFromString('--expose_gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const settled = (): number => {
    for (let times = 0; times < 3; times += 1) collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const held: unknown[] = Array(count).fill(undefined);
  const before = settled();
  for (let n = 0; n < count; n += 1) held[n] = make(n);
  const bytes = (settled() - before) / count;
  return held.length === count ? bytes : Number.NaN;
}

describe('memory', () => {
  it.each<[string, RunOptions | undefined, number]>([
    ['one more waiter without options', undefined, WAITER_BYTES_MAX],
    ['one more waiter who wants a value of its own', { isolate: 'clone' }, WAITER_OF_ITS_OWN_BYTES_MAX],
  ])('of %s stays small', async (_who, options, bytesMax) => {
    const collapser = createCollapser();
    let finish: (value: string) => void = () => {};
    const first = collapser.run('seats', () => new Promise<string>((resolve) => (finish = resolve)));
    const load = async (): Promise<string> => 'never';
    const bytes = bytesEach(20_000, () => collapser.run('seats', load, options));
    finish('seats');
    await first;
    expect(bytes).toBeLessThan(bytesMax);
    await collapser.close();
  });

  it('of a flight in progress stays small', async () => {
    const collapser = createCollapser();
    const load = (): Promise<string> => new Promise(() => {});
    const keys = Array.from({ length: 5_000 }, (_, n) => `key-${n}`);
    const calls: Promise<unknown>[] = [];
    const bytes = bytesEach(keys.length, (n) => calls.push(collapser.run(keys[n] ?? '', load)));
    expect(bytes).toBeLessThan(FLIGHT_BYTES_MAX);
    await Promise.all([collapser.close({ drainMs: 0 }), Promise.allSettled(calls)]);
  });
});
