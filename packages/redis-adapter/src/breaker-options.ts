import { checkOptions, type OptionCheck } from '@oneflight/core';

/** When Redis counts as away, and how its return is looked for. One circuit breaker per coordinator, not per key. */
export interface BreakerOptions {
  /** Without it each call waits for a silent Redis up to `commandTimeoutMs`. @default true */
  readonly enabled?: boolean;
  /** So many failures in a row open it: operations that cannot be sent, and silences of `commandTimeoutMs`, each of them once. @default 5 */
  readonly failuresMax?: number;
  /** Over which time `ratioMax` is measured. At least 100. @default 10_000 ms */
  readonly windowMs?: number;
  /** This share of at least 20 operations that failed opens it too: above 0, up to 1. @default 0.5 */
  readonly ratioMax?: number;
  /** After which time Redis is looked for, 20% more or less. Doubles each time it is still away. At least 10. @default 1_000 ms */
  readonly halfOpenAfterMs?: number;
  /** Up to this time between two looks; a connection that is back is looked at at once. At least `halfOpenAfterMs`. @default 30_000 ms */
  readonly halfOpenMaxMs?: number;
}

export type ResolvedBreaker = Required<BreakerOptions>;

export const BREAKER_DEFAULTS: ResolvedBreaker = Object.freeze({
  enabled: true,
  failuresMax: 5,
  windowMs: 10_000,
  ratioMax: 0.5,
  halfOpenAfterMs: 1_000,
  halfOpenMaxMs: 30_000,
});

/** Says what is expected of the option `breaker` where it is no object; throws for what is in it. */
export function checkBreaker(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'an object';
  checkOptions('redisCoordinator.breaker', value, CHECKS);
  const { halfOpenAfterMs, halfOpenMaxMs } = resolveBreaker(value);
  return halfOpenMaxMs >= halfOpenAfterMs
    ? undefined
    : `an object whose halfOpenMaxMs is at least its halfOpenAfterMs (${halfOpenAfterMs})`;
}

/** Fills in the defaults. */
export function resolveBreaker(options: BreakerOptions = {}): ResolvedBreaker {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.freeze({ ...BREAKER_DEFAULTS, ...Object.fromEntries(given) });
}

const DURATION_MS_MAX = 86_400_000;
const CHECKS: Readonly<Record<keyof BreakerOptions, OptionCheck>> = {
  enabled: (value) => (typeof value === 'boolean' ? undefined : 'a boolean'),
  failuresMax: whole(1, 1_000_000),
  windowMs: whole(100, DURATION_MS_MAX),
  ratioMax: (value) => (typeof value === 'number' && value > 0 && value <= 1 ? undefined : 'a number above 0 and up to 1'),
  halfOpenAfterMs: whole(10, DURATION_MS_MAX),
  halfOpenMaxMs: whole(10, DURATION_MS_MAX),
};

function whole(min: number, max: number): OptionCheck {
  return (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? undefined
      : `a whole number from ${min} to ${max}`;
}
