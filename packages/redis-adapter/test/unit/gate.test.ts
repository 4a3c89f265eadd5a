import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Gate } from '../../src/gate.js';

const unavailable = { code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'unavailable' };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('who waits while it is opening passes when it opens', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const passing = gate.pass();
  gate.open();
  await expect(passing).resolves.toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test('who waits is refused when the attempt fails, and so is who comes after', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const passing = gate.pass();
  gate.shut(new Error('connect ECONNREFUSED'));
  await expect(passing).rejects.toMatchObject({ ...unavailable, message: expect.stringContaining('ECONNREFUSED') });
  await expect(gate.pass()).rejects.toMatchObject(unavailable);
  expect(vi.getTimerCount()).toBe(0);
});

test('nobody waits longer than its patience in total', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const early = gate.pass();
  vi.advanceTimersByTime(900);
  const late = gate.pass();
  vi.advanceTimersByTime(100);
  await expect(early).rejects.toMatchObject(unavailable);
  await expect(late).rejects.toMatchObject(unavailable);
});

test('after it was shut it can open', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  gate.shut();
  gate.open();
  await expect(gate.pass()).resolves.toBeUndefined();
});

test('a loss gives one patience to come back', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  gate.open();
  gate.reopen();
  const passing = gate.pass();
  vi.advanceTimersByTime(250);
  await expect(passing).rejects.toMatchObject(unavailable);
});

test('a process that was too busy to listen gives the connection another patience', async () => {
  const gate = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const passing = gate.pass();
  const now = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 5_000);
  vi.advanceTimersByTime(1_000);
  now.mockRestore();
  gate.open();
  await expect(passing).resolves.toBeUndefined();
});

test('it settles when it opens and when it is shut, and never rejects', async () => {
  const opened = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const shut = new Gate('Redis', { firstMs: 1_000, againMs: 250 });
  const settled = Promise.all([opened.settled(), shut.settled()]);
  opened.open();
  shut.shut(new Error('away'));
  await expect(settled).resolves.toEqual([undefined, undefined]);
  await expect(shut.settled()).resolves.toBeUndefined();
});
