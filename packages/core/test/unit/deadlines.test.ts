import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../src/deadlines.js';
import { ManualClock } from '../../src/testing/index.js';

function setup() {
  const clock = new ManualClock(1_000);
  const deadlines = new Deadlines(clock);
  const ended: string[] = [];
  const start = (name: string, lengthMs: number, beganAt = clock.now(), onEnd = (): void => {}) =>
    deadlines.start({ onDeadline: () => (ended.push(`${name} ${clock.now()}`), onEnd()) }, beganAt + lengthMs, lengthMs);
  return { clock, ended, start };
}

describe('deadlines', () => {
  it('end each at its own time, whatever the order in which they were started', async () => {
    const { clock, ended, start } = setup();
    start('a', 100);
    await clock.advance(30);
    start('b', 100);
    start('began before', 100, 1_010);
    start('began first', 100, 990);
    start('short', 20);
    await clock.advance(200);
    expect(ended).toEqual(['short 1050', 'began first 1090', 'a 1100', 'began before 1110', 'b 1130']);
  });

  it('share one timer if they are of equal length, and set it anew only when it rings', async () => {
    const { clock, ended, start } = setup();
    const first = start('first', 100);
    await clock.advance(40);
    start('second', 100);
    expect(clock.pending).toBe(1);
    first.cancel();
    expect(clock.pending).toBe(1);
    await clock.advance(100);
    expect(ended).toEqual(['second 1140']);
  });

  it('leave no timer behind when all are cancelled, also twice, and start again after that', async () => {
    const { clock, ended, start } = setup();
    const all = [start('a', 100), start('b', 100), start('c', 100)];
    for (const deadline of [...all, ...all]) deadline.cancel();
    expect(clock.pending).toBe(0);
    start('d', 100);
    await clock.advance(100);
    expect(ended).toEqual(['d 1100']);
    expect(clock.pending).toBe(0);
  });

  it('may be cancelled and started by one that ends', async () => {
    const { clock, ended, start } = setup();
    const others: { cancel(): void }[] = [];
    start('a', 100, clock.now(), () => {
      for (const other of others) other.cancel();
      start('next', 100);
    });
    others.push(start('b', 100), start('c', 100));
    await clock.advance(250);
    expect(ended).toEqual(['a 1100', 'next 1200']);
    expect(clock.pending).toBe(0);
  });
});
