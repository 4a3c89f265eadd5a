import { describe, misuse } from './errors.js';

/** Checks one option's value; returns what was expected when it does not fit. */
export type OptionCheck = (value: unknown) => string | undefined;

/**
 * Checks an options object against a table with one check per name. `undefined` means "not given" everywhere.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION: for an unknown name with the nearest known one, for a value with what was expected.
 */
export function checkOptions(owner: string, options: unknown, checks: Readonly<Record<string, OptionCheck>>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw misuse('ERR_ONEFLIGHT_OPTION', `${owner} to be an object`, describe(options));
  }
  for (const name of Object.keys(options)) {
    const value: unknown = Reflect.get(options, name);
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (check === undefined && !isPlain(options))
      throw misuse('ERR_ONEFLIGHT_OPTION', `${owner} to be an object of options`, describe(options));
    if (check === undefined) throw unknownName(owner, name, Object.keys(checks));
    if (value === undefined) continue;
    const expected = check(value);
    if (expected !== undefined) throw misuse('ERR_ONEFLIGHT_OPTION', `${owner}.${name} to be ${expected}`, describe(value));
  }
}

/** Accepts a number of milliseconds from `min` up to Node's longest timer. */
export function milliseconds(min: number, { infinity = false } = {}): OptionCheck {
  return (value) => {
    if (infinity && value === Number.POSITIVE_INFINITY) return undefined;
    if (typeof value === 'number' && value >= min && value <= 2_147_483_647) return undefined;
    return `a number of milliseconds from ${min} to 2147483647${infinity ? ' or Infinity' : ''}`;
  };
}

/** Accepts a whole number from `min` up. */
export function wholeNumber(min: number): OptionCheck {
  return (value) => (Number.isSafeInteger(value) && Number(value) >= min ? undefined : `a whole number of at least ${min}`);
}

/** Accepts one of a closed set of values. */
export function oneOf(...values: readonly unknown[]): OptionCheck {
  return (value) =>
    values.includes(value)
      ? undefined
      : `one of ${values.map((item) => (typeof item === 'string' ? `'${item}'` : String(item))).join(', ')}`;
}

/** Accepts an object that has these methods. */
export function objectWith(what: string, ...methods: readonly string[]): OptionCheck {
  return (value) => {
    const has = typeof value === 'object' && value !== null && methods.every((name) => typeof Reflect.get(value, name) === 'function');
    return has ? undefined : what;
  };
}

/** Not an instance of somebody's class, which was passed in place of options: its own fields would be called unknown options. */
function isPlain(options: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(options);
  return prototype === null || prototype === Object.prototype;
}

/** Accepts a coordinator. A client of a server has a method of the same name, and can be duplicated. */
export const isCoordinator: OptionCheck = (value) => {
  const expected = objectWith('a coordinator, such as redisCoordinator({ redis })', 'connect')(value);
  if (expected !== undefined || typeof value !== 'object' || value === null || !('duplicate' in value)) return expected;
  return 'a coordinator, which redisCoordinator({ redis }) makes of a client';
};

function unknownName(owner: string, name: string, known: readonly string[]): TypeError {
  const nearest = known
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint =
    nearest !== undefined && nearest.distance <= Math.min(4, Math.max(name.length, nearest.candidate.length) / 2)
      ? `; did you mean '${nearest.candidate}'?`
      : '';
  return misuse(
    'ERR_ONEFLIGHT_OPTION',
    `${owner} to have only the options ${known.join(', ')}`,
    `the unknown option '${name.slice(0, 64)}'${hint}`,
  );
}

/** Levenshtein's distance, one row at a time. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
