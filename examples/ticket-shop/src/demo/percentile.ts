/** The value that this share of all is at or below, in whole milliseconds; 0 of nothing. */
export function percentile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0);
}
