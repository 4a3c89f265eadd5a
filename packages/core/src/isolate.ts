import { PayloadError } from './errors.js';

/**
 * Prepares a shared value for one waiter. Clones are made before anybody gets the value, so nobody's mutation shows in them.
 *
 * @throws PayloadError ERR_ONEFLIGHT_PAYLOAD when a clone was asked for and the value cannot be cloned.
 */
export function isolated<T>(value: T, isolate: 'none' | 'clone' | 'freeze'): T {
  switch (isolate) {
    case 'none':
      return value;
    case 'clone':
      return clone(value);
    case 'freeze':
      return isFreezable(value, new Set()) ? deepFreeze(value) : clone(value);
  }
}

function clone<T>(value: T): T {
  try {
    return structuredClone(value);
  } catch (cause) {
    throw new PayloadError(
      "isolate needs a value that structuredClone can copy. Return plain data from the loader, or use isolate: 'none'",
      { cause },
    );
  }
}

/** Object.freeze protects plain objects and arrays only: a frozen Map, Set, Date or buffer can still be changed. */
function isFreezable(value: unknown, seen: Set<unknown>): boolean {
  if (typeof value !== 'object' || value === null || seen.has(value)) return typeof value !== 'function';
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return false;
  seen.add(value);
  return Object.values(value).every((item) => isFreezable(item, seen));
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const item of Object.values(value)) deepFreeze(item);
  return value;
}
