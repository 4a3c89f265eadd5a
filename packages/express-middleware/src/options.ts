import { checkOptions, type OptionCheck, wholeNumber } from '@oneflight/core';
import type { Request } from 'express';

/** Options of `collapse`. */
export interface CollapseOptions {
  /** Requests that are not to be collapsed. @default none */
  readonly skip?: (request: Request) => boolean;
  readonly limits?: {
    /** Size up to which an answer is shared, in bytes; a larger one goes to its own caller only. @default 1_048_576 */
    readonly bodyBytesMax?: number;
  };
}

export interface CheckedOptions {
  readonly skip: (request: Request) => boolean;
  readonly bodyBytesMax: number;
}

/** Fills in the defaults. @throws TypeError ERR_ONEFLIGHT_OPTION */
export function checkCollapseOptions(options: CollapseOptions): CheckedOptions {
  checkOptions('options', options, CHECKS);
  if (options.limits !== undefined) checkOptions('options.limits', options.limits, { bodyBytesMax: wholeNumber(0) });
  return { skip: options.skip ?? (() => false), bodyBytesMax: options.limits?.bodyBytesMax ?? BODY_BYTES_MAX_DEFAULT };
}

const BODY_BYTES_MAX_DEFAULT = 1_048_576;

const CHECKS: Readonly<Record<string, OptionCheck>> = {
  skip: (value) => (typeof value === 'function' ? undefined : 'a function of the request'),
  limits: () => undefined,
};
