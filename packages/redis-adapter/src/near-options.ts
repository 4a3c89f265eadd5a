import { checkOptions, type OptionCheck } from '@oneflight/core';

/** How much of what Redis stores is held in this process as well, and for how long. */
export interface NearOptions {
  /** Copies take up to this many bytes in each collapser; the least recently used go first. @default 16_777_216 bytes */
  readonly bytesMax?: number;
  /**
   * A copy is used for this long at most: so old may an answer be, beyond what the call accepts, where the message of an
   * invalidation was lost. @default 1_000 ms
   */
  readonly maxAgeMs?: number;
}

const NEAR_DEFAULTS: Required<NearOptions> = Object.freeze({ bytesMax: 16_777_216, maxAgeMs: 1_000 });

/** Says what is expected of the option `near` where it is none; throws for what is in it. */
export function checkNear(value: unknown): string | undefined {
  if (typeof value === 'boolean') return undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'a boolean or an object';
  checkOptions('redisCoordinator.near', value, CHECKS);
  return undefined;
}

/** Fills in the defaults; undefined for none. */
export function nearOptions(option: boolean | NearOptions | undefined): Required<NearOptions> | undefined {
  if (option === undefined || option === false) return undefined;
  const given = option === true ? [] : Object.entries(option).filter(([, value]) => value !== undefined);
  return Object.freeze({ ...NEAR_DEFAULTS, ...Object.fromEntries(given) });
}

const CHECKS: Readonly<Record<keyof NearOptions, OptionCheck>> = {
  bytesMax: whole(1_024, 2 ** 40),
  maxAgeMs: whole(1, 86_400_000),
};

function whole(min: number, max: number): OptionCheck {
  return (value) =>
    Number.isInteger(value) && Number(value) >= min && Number(value) <= max ? undefined : `a whole number from ${min} to ${max}`;
}
