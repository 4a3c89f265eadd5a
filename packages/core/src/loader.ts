import { describe, misuse } from './errors.js';
import type { Loader } from './options.js';

/** Whether it can be called to load. */
export function isLoader(value: unknown): value is Loader<unknown> {
  return typeof value === 'function';
}

/** What to throw where a loader was expected. */
export function noLoader(got: unknown): TypeError {
  return misuse('ERR_ONEFLIGHT_LOADER', 'a loader: a function that returns the value or a promise of it', describe(got));
}
