import { describe, expect, it } from 'vitest';
import { Floors } from '../../src/floors.js';

describe('floors', () => {
  it('only grow, unless they are set', () => {
    const floors = new Floors();
    floors.raise('k', 5);
    floors.raise('k', 3);
    expect(floors.get('k')).toBe(5);
    floors.set('k', 3);
    expect(floors.get('k')).toBe(3);
  });

  it('of the last 10,000 keys are remembered, and none of those from long before', () => {
    const floors = new Floors();
    for (let key = 1; key <= 50_000; key += 1) floors.raise(`k${key}`, key);
    for (let key = 40_001; key <= 50_000; key += 1) expect(floors.get(`k${key}`)).toBe(key);
    for (let key = 1; key <= 30_000; key += 1) expect(floors.get(`k${key}`)).toBe(0);
  });
});
