import type { CircuitState, Clock } from '@oneflight/core';
import { ManualClock } from '@oneflight/core/testing';
import { beforeEach, expect, test } from 'vitest';
import { Breaker } from '../../src/breaker.js';
import { type BreakerOptions, resolveBreaker } from '../../src/breaker-options.js';
import { FailureWindow } from '../../src/failure-window.js';

const SILENCE_MS = 250;

let clock: ManualClock;
let states: CircuitState[];
let pings: { at: number; answer: () => void; fail: () => void }[];
let bytesRead: number;
let breaker: Breaker;

beforeEach(() => {
  clock = new ManualClock(1_000_000);
  make();
});

test('one silence is one failure, however many operations wait in it', async () => {
  for (let sent = 0; sent < 2_000; sent++) breaker.sent();
  await clock.advance(SILENCE_MS);
  for (let answer = 0; answer < 2_000; answer++) breaker.answered();
  for (let round = 0; round < 3; round++) {
    breaker.sent();
    await clock.advance(SILENCE_MS);
  }
  expect(states).toEqual([]);
});

test.each([1, 2_000])('five silences in a row open it, also where %i operations wait all the while', async (operations) => {
  for (let sent = 0; sent < operations; sent++) breaker.sent();
  await clock.advance(5 * SILENCE_MS - 1);
  expect(states).toEqual([]);
  expect(breaker.refusal()).toBe(undefined);
  await clock.advance(1);
  expect(states).toEqual(['open']);
  expect(breaker.refusal()).toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'unavailable' });
});

test('operations that nobody answers, one after the other, open it with the fifth', async () => {
  for (let sent = 0; sent < 5; sent++) {
    expect(states).toEqual([]);
    breaker.sent();
    await clock.advance(SILENCE_MS);
    breaker.ended('timeout');
  }
  expect(states).toEqual(['open']);
});

test('operations that are unavailable open it at once; refusals and protocol errors never do', async () => {
  for (const reason of ['refused', 'protocol'] as const) {
    for (let sent = 0; sent < 40; sent++) fail(reason);
  }
  expect(states).toEqual([]);
  for (let sent = 0; sent < 4; sent++) fail('unavailable');
  fail('refused');
  for (let sent = 0; sent < 4; sent++) fail('unavailable');
  expect(states).toEqual([]);
  fail('unavailable');
  expect(states).toEqual(['open']);
});

test('what could not be sent counts, as what was sent and came back unavailable', async () => {
  for (let failed = 0; failed < 5; failed++) breaker.failed();
  expect(states).toEqual(['open']);
});

test('half of at least twenty operations that fail open it, however they are mixed', async () => {
  for (let pair = 0; pair < 9; pair++) {
    fail('unavailable');
    answer();
  }
  answer();
  expect(states).toEqual([]);
  fail('unavailable');
  expect(states).toEqual(['open']);
});

test('failures are forgotten after the window', async () => {
  for (let pair = 0; pair < 9; pair++) {
    fail('unavailable');
    answer();
  }
  await clock.advance(10_001);
  for (let pair = 0; pair < 9; pair++) {
    fail('unavailable');
    answer();
  }
  expect(states).toEqual([]);
});

test('late replies are contention: as long as some come, nothing opens it', async () => {
  for (let sent = 0; sent < 200; sent++) breaker.sent();
  for (let round = 0; round < 50; round++) {
    await clock.advance(SILENCE_MS - 50);
    answer();
  }
  expect(states).toEqual([]);
});

test('bytes of a reply that is not complete are no silence', async () => {
  for (let sent = 0; sent < 20; sent++) breaker.sent();
  for (let round = 0; round < 20; round++) {
    bytesRead += 1;
    await clock.advance(SILENCE_MS - 50);
  }
  expect(states).toEqual([]);
  await clock.advance(6 * SILENCE_MS);
  expect(states).toEqual(['open']);
});

test('a process that was too busy to listen counts that time for nothing', async () => {
  const late = new LateClock(clock);
  make({}, late);
  for (let sent = 0; sent < 20; sent++) breaker.sent();
  await clock.advance(0);
  for (let block = 0; block < 10; block++) {
    late.blockedMs += 5_000;
    await clock.advance(SILENCE_MS);
  }
  expect(states).toEqual([]);
  await clock.advance(5 * SILENCE_MS);
  expect(states).toEqual(['open']);
});

test('what timed out is not counted again: its silence was', async () => {
  for (let sent = 0; sent < 40; sent++) breaker.sent();
  await clock.advance(SILENCE_MS);
  for (let ended = 0; ended < 40; ended++) breaker.ended('timeout');
  expect(states).toEqual([]);
  expect(clock.pending).toBe(1);
  await clock.advance(SILENCE_MS);
  expect(clock.pending).toBe(0);
});

test('it looks for the server with one PING after a second, which closes it', async () => {
  open();
  await clock.advance(999);
  expect(pings).toEqual([]);
  await clock.advance(1);
  expect(states).toEqual(['open', 'half_open']);
  expect(breaker.refusal()).toMatchObject({ reason: 'unavailable' });
  pings[0]?.answer();
  await clock.advance(0);
  expect(states).toEqual(['open', 'half_open', 'closed']);
  expect(breaker.refusal()).toBe(undefined);
  expect(clock.pending).toBe(0);
});

test('each PING that fails doubles the time to the next one, up to the maximum', async () => {
  open();
  const start = clock.now();
  for (let round = 0; round < 8; round++) {
    await clock.advance(30_000 + SILENCE_MS);
    pings.at(-1)?.fail();
    await clock.advance(0);
  }
  await clock.advance(200_000);
  const gaps = pings.map(({ at }, index) => at - (pings[index - 1]?.at ?? start));
  expect(gaps.slice(0, 1)).toEqual([1_000]);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(30_000 + SILENCE_MS);
  expect(Math.min(...gaps.slice(-3))).toBeGreaterThanOrEqual(30_000);
});

test('the time to the next PING is left to chance by a fifth', async () => {
  for (const [random, expectedMs] of [
    [0, 800],
    [1, 1_200],
  ] as const) {
    make({}, clock, () => random);
    open();
    await clock.advance(expectedMs - 1);
    expect(pings).toHaveLength(0);
    await clock.advance(1);
    expect(pings).toHaveLength(1);
  }
});

test('a connection that is back is looked at at once', async () => {
  open();
  breaker.probeSoon();
  expect(pings).toHaveLength(1);
  breaker.probeSoon();
  expect(pings).toHaveLength(1);
  pings[0]?.answer();
  await clock.advance(0);
  expect(states).toEqual(['open', 'half_open', 'closed']);
});

test('a reply that comes late, of an operation or of a PING, is a reason to look at once', async () => {
  breaker.sent();
  open();
  breaker.answered();
  await clock.advance(0);
  expect(pings).toHaveLength(1);
  await clock.advance(SILENCE_MS);
  expect(states.at(-1)).toBe('open');
  pings[0]?.answer();
  await clock.advance(0);
  expect(pings).toHaveLength(2);
  pings[1]?.answer();
  await clock.advance(0);
  expect(states.at(-1)).toBe('closed');
});

test('a server that answers PINGs and nothing else is looked at less and less often, until an operation succeeds', async () => {
  open();
  await clock.advance(1_000);
  pings[0]?.fail();
  await clock.advance(2_000);
  pings[1]?.answer();
  await clock.advance(0);
  expect(states.at(-1)).toBe('closed');
  open();
  await clock.advance(1_999);
  expect(pings).toHaveLength(2);
  await clock.advance(1);
  pings[2]?.answer();
  await clock.advance(0);
  answer();
  open();
  await clock.advance(1_000);
  expect(pings).toHaveLength(4);
});

test('disabled it lets everything through', async () => {
  make({ enabled: false });
  for (let sent = 0; sent < 40; sent++) fail('unavailable');
  expect(states).toEqual([]);
  expect(clock.pending).toBe(0);
  expect(breaker.refusal()).toBe(undefined);
});

test('closed for good it looks for nobody and tells nothing', async () => {
  open();
  breaker.close();
  await clock.advance(100_000);
  expect(pings).toEqual([]);
  expect(states).toEqual(['open']);
});

test('who begins to listen while it is open is told so, and who stopped is told nothing', async () => {
  open();
  const heard: CircuitState[] = [];
  const stop = breaker.listen((state) => heard.push(state));
  expect(heard).toEqual(['open']);
  stop();
  breaker.probeSoon();
  expect(heard).toEqual(['open']);
});

test('without operations no timer runs', async () => {
  answer();
  await clock.advance(SILENCE_MS);
  expect(clock.pending).toBe(0);
});

test('a window counts what falls into it, whatever the times', () => {
  const options = { failuresMax: 1_000, windowMs: 1_000, ratioMax: 0.5 };
  const window = new FailureWindow(options, clock);
  const results: boolean[] = [];
  for (let at = 0; at < 19; at++) results.push(window.failed());
  expect(results).not.toContain(true);
  expect(window.failed()).toBe(true);
  window.forget();
  expect(window.failed()).toBe(false);
});

function make(options: BreakerOptions = {}, on: Clock = clock, random = () => 0.5): void {
  [states, pings, bytesRead] = [[], [], 0];
  const ping = (): Promise<unknown> =>
    new Promise((resolve, reject) => pings.push({ at: clock.now(), answer: () => resolve('PONG'), fail: () => reject(new Error('away')) }));
  breaker = new Breaker(resolveBreaker(options), { silenceMs: SILENCE_MS, ping, bytesRead: () => bytesRead }, on, random);
  breaker.listen((state) => states.push(state));
}

function open(): void {
  for (let sent = 0; sent < 5; sent++) fail('unavailable');
  expect(breaker.state).toBe('open');
}

function answer(): void {
  breaker.sent();
  breaker.answered();
}

function fail(reason: 'unavailable' | 'refused' | 'protocol'): void {
  breaker.sent();
  breaker.ended(reason);
}

/** A clock whose timers ring late by what the test says. */
class LateClock implements Clock {
  blockedMs = 0;
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now() + this.blockedMs;
  }

  setTimer(callback: () => void, delayMs: number) {
    return this.#clock.setTimer(callback, delayMs);
  }
}
