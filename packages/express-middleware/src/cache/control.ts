import { parseDictionary } from './dictionary.js';

/** The directives of one control field, by lower-case name: an argument for each time that it came, '' without one. */
export type Control = ReadonlyMap<string, readonly string[]>;

type HeaderValue = string | readonly string[] | undefined;

/**
 * The directives of `Cache-Control` (RFC 9111 section 5.2). What is between quotes is an argument, whatever it holds; what
 * cannot be read counts as `no-cache`, so that it can only make an answer less fresh.
 */
export function parseControl(value: HeaderValue): Control {
  const found = new Map<string, string[]>();
  if (value === undefined) return found;
  for (const member of split(typeof value === 'string' ? value : value.join(','))) {
    const [, name = '', argument = ''] = MEMBER.exec(member) ?? [];
    add(found, name === '' ? 'no-cache' : name.toLowerCase(), unquoted(argument));
  }
  return found;
}

/** What a cache on behalf of the server obeys: `CDN-Cache-Control` if it can be read, else `Cache-Control` (RFC 9213 section 2.2). */
export function controlOf(headers: ReadonlyMap<string, string | readonly string[]>): {
  readonly control: Control;
  readonly isTargeted: boolean;
} {
  const targeted = targetedControl(headers.get('cdn-cache-control'));
  if (targeted !== undefined) return { control: targeted, isTargeted: true };
  return { control: parseControl(headers.get('cache-control')), isTargeted: false };
}

function targetedControl(value: HeaderValue): Control | undefined {
  if (value === undefined) return undefined;
  const dictionary = parseDictionary(typeof value === 'string' ? value : value.join(','));
  if (dictionary === undefined || dictionary.size === 0) return undefined;
  return new Map([...dictionary].map(([name, argument]) => [name, [argumentOf(argument)]]));
}

/** Numbers are integers and flags are true; anything else is an argument that no directive here understands. */
function argumentOf(argument: unknown): string {
  if (argument === true) return '';
  return typeof argument === 'number' && Number.isInteger(argument) ? String(argument) : '?';
}

/**
 * The seconds that a directive gives. Undefined where it is not there; null where it says something that cannot be counted
 * on: no number, or twice (RFC 9111 section 4.2.1).
 */
export function secondsOf(control: Control, name: string): number | null | undefined {
  const given = control.get(name);
  if (given === undefined) return undefined;
  const [argument = ''] = given;
  if (given.length > 1 || !/^\d+$/.test(argument)) return null;
  return Math.min(Number(argument), SECONDS_MAX);
}

/** What does not fit is this much (RFC 9111 section 1.2.2). */
export const SECONDS_MAX = 2_147_483_648;

/** `token`, `token=token` or `token="quoted"`. */
const MEMBER = /^([!#$%&'*+.^_`|~\w-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",]*))?$/;

/** Splits at commas that are not between quotes. A quote that nothing closes reaches to the end. */
function split(value: string): readonly string[] {
  const members = value.match(/(?:"(?:[^"\\]|\\.)*(?:"|$)|[^,"])+/g) ?? [];
  return members.map((member) => member.trim()).filter((member) => member !== '');
}

function unquoted(argument: string): string {
  return argument.startsWith('"') ? argument.slice(1, -1).replaceAll(/\\(.)/g, '$1') : argument;
}

function add(found: Map<string, string[]>, name: string, argument: string): void {
  const before = found.get(name);
  if (before === undefined) found.set(name, [argument]);
  else before.push(argument);
}
