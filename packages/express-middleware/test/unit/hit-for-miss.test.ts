import { describe, expect, it } from 'vitest';

import { HitForMiss, KEYS_MAX, REMEMBER_MS } from '../../src/hit-for-miss.js';

describe('HitForMiss', () => {
  it('remembers a key for its time and no longer', () => {
    let now = 1_000;
    const memory = new HitForMiss(() => now);
    memory.remember('a');
    now += REMEMBER_MS - 1;
    expect(memory.has('a')).toBe(true);
    now += 1;
    expect(memory.has('a')).toBe(false);
    expect(memory.size).toBe(0);
  });

  it('forgets a key that can be shared again', () => {
    const memory = new HitForMiss();
    memory.remember('a');
    memory.forget('a');
    expect(memory.has('a')).toBe(false);
  });

  it('never holds more than its limit, and lets go of what was not seen for longest', () => {
    const memory = new HitForMiss();
    for (let n = 0; n < KEYS_MAX; n += 1) memory.remember(`key ${n}`);
    memory.remember('key 0');
    for (let n = 0; n < 10; n += 1) memory.remember(`more ${n}`);
    expect(memory.size).toBe(KEYS_MAX);
    expect([memory.has('key 0'), memory.has('key 1'), memory.has('key 11')]).toEqual([true, false, true]);
  });
});
