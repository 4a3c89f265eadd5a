import type { System } from '../systems/system.js';
import type { Cell } from './result.js';

/** Three digits that count, thousands with commas. */
export function exact(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  const digits = size === 0 || Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function written(cell: Cell): string {
  return typeof cell === 'number' ? exact(cell) : (cell ?? '–');
}

/** How many times as much. */
export function compared(value: number, other: number): string {
  const ratio = value / other;
  return Number.isFinite(ratio) ? `${ratio.toFixed(2)}x` : '–';
}

/** What a user gets: where answers may be older than the load that runs, that is part of every number beside it. */
export function ageNote({ reach, keepsMs }: System): string {
  const age = keepsMs === 0 ? 'fresh' : `up to ${keepsMs / 1_000} s old`;
  return reach === 'nothing' ? `${age}, not collapsed` : `${age}, collapsed per ${reach}`;
}
