import { isLinearizable, readsThatMiss, type RegisterOperation } from '@oneflight/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const write = (value: string, from: number, until: number): RegisterOperation => ({ kind: 'write', value, from, until });
const read = (value: string | undefined, from: number, until: number): RegisterOperation => ({ kind: 'read', value, from, until });

describe('a history of a register', () => {
  it('is linearizable where one order explains all reads', () => {
    expect(isLinearizable([])).toBe(true);
    expect(isLinearizable([read(undefined, 0, 1), write('a', 2, 3), read('a', 4, 5)])).toBe(true);
    expect(isLinearizable([write('a', 0, 10), read('a', 1, 2), read('a', 3, 4)])).toBe(true);
    expect(isLinearizable([write('a', 0, 10), read(undefined, 1, 2), read('a', 3, 4)])).toBe(true);
    expect(isLinearizable([write('a', 0, 9), write('b', 0, 9), read('b', 1, 2), read('a', 3, 4), read('a', 10, 11)])).toBe(true);
    expect(isLinearizable([write('a', 0, 1), write('lost', 2, Infinity), read('a', 3, 4), read('lost', 5, 6)])).toBe(true);
  });

  it('is not where a read misses a write that had ended, or the register goes back', () => {
    expect(isLinearizable([write('a', 0, 1), read(undefined, 2, 3)])).toBe(false);
    expect(isLinearizable([write('a', 0, 1), write('b', 2, 3), read('a', 4, 5)])).toBe(false);
    expect(isLinearizable([write('a', 0, 10), read('a', 1, 2), read(undefined, 3, 4)])).toBe(false);
    expect(isLinearizable([write('a', 0, 9), write('b', 0, 9), read('b', 1, 2), read('a', 3, 4), read('b', 5, 6)])).toBe(false);
    expect(isLinearizable([read('never written', 0, 1)])).toBe(false);
  });

  it('names the reads that miss a write, and not those that merely see one early', () => {
    const missed = read('a', 4, 5);
    expect(readsThatMiss([write('a', 0, 1), write('b', 2, 3), missed, read('b', 4, 5)])).toEqual([missed]);
    expect(readsThatMiss([write('a', 0, 10), read('a', 1, 2), read(undefined, 3, 4)])).toEqual([]);
    expect(readsThatMiss([write('a', 0, 1), read(undefined, 2, 3)])).toHaveLength(1);
  });

  it('is judged as by trying every order', () => {
    const operation = fc
      .record({ kind: fc.constantFrom('write' as const, 'read' as const), value: fc.nat(2), from: fc.nat(12), lasts: fc.nat(6) })
      .map(({ kind, value, from, lasts }) => ({ kind, value: String(value), from, until: from + lasts }));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 6 }), (operations) => {
        expect(isLinearizable(operations)).toBe(hasOrder(operations, undefined));
      }),
      { numRuns: 2_000 },
    );
  });
});

/** By the definition: somebody goes first of those whom nobody has to precede, and the rest has an order after that. */
function hasOrder(left: readonly RegisterOperation[], register: string | undefined): boolean {
  if (left.length === 0) return true;
  return left.some((first) => {
    if (left.some((other) => other !== first && other.until < first.from)) return false;
    if (first.kind === 'read' && first.value !== register) return false;
    return hasOrder(
      left.filter((other) => other !== first),
      first.kind === 'write' ? first.value : register,
    );
  });
}
