/** What every load of the bench returns, whatever the system. Times are milliseconds of the machine's monotonic clock. */
export interface Loaded {
  /** From the first call for the key in the process that loads to the start of its load. */
  readonly leadMs: number;
  readonly endedAt: number;
  readonly payload: string;
}

/** The machine's monotonic clock, the same for all processes, in milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Reads what came back from Redis as JSON. */
export function parseLoaded(text: string): Loaded {
  const value: unknown = JSON.parse(text);
  if (isLoaded(value)) return value;
  throw new TypeError('expected what a load returned, got something else');
}

export function isLoaded(value: unknown): value is Loaded {
  return typeof value === 'object' && value !== null && 'endedAt' in value && 'leadMs' in value && 'payload' in value;
}
