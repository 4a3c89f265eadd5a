/*
 * What RFC 9111 forbids a shared cache, written from its text and from nothing else: no line of it comes from the
 * middleware. It is asked about one use of a stored answer for a later request, and errs on the side of forbidding.
 */
export type Fields = Readonly<Record<string, string>>;

export interface Stored {
  readonly requestFields: Fields;
  readonly fields: Fields;
  readonly status: number;
  /** When it was generated, and when it was last validated, in seconds. */
  readonly at: number;
  /** The time of the process then, in seconds: what dates are counted from. */
  readonly date: number;
}

export interface Use {
  readonly requestFields: Fields;
  /** In seconds. */
  readonly at: number;
  /** A handler was asked about it and failed, or another one is being asked. */
  readonly isError: boolean;
}

/** The section that forbids the use; undefined where none does. */
export function forbiddenBy(stored: Stored, use: Use): string | undefined {
  const answer = directivesOf(fieldOf(stored.fields, 'cache-control'));
  const targeted = targetedOf(fieldOf(stored.fields, 'cdn-cache-control'));
  const effective = targeted ?? answer;
  const asked = directivesOf(fieldOf(use.requestFields, 'cache-control'));
  return (
    storingForbidden(stored, answer, targeted) ??
    varyForbids(stored, use) ??
    (effective.has('no-cache') ? '5.2.2.4: no-cache' : undefined) ??
    reloadForbids(use, asked) ??
    ageForbids(stored, use, effective, targeted !== undefined, asked)
  );
}

function storingForbidden({ requestFields }: Stored, answer: Directives, targeted: Directives | undefined): string | undefined {
  const effective = targeted ?? answer;
  if (directivesOf(fieldOf(requestFields, 'cache-control')).has('no-store')) return '5.2.1.5: the first request said no-store';
  if (answer.has('no-store') || targeted?.has('no-store') === true) return '5.2.2.5: no-store';
  if (answer.has('private') || targeted?.has('private') === true) return '5.2.2.7: private';
  const isAllowed = ['public', 's-maxage', 'must-revalidate'].some((name) => effective.has(name));
  return fieldOf(requestFields, 'authorization') !== undefined && !isAllowed ? '3.5: Authorization' : undefined;
}

function reloadForbids({ requestFields }: Use, asked: Directives): string | undefined {
  if (asked.has('no-cache')) return '5.2.1.4: the request said no-cache';
  const isAlone = fieldOf(requestFields, 'cache-control') === undefined;
  return isAlone && directivesOf(fieldOf(requestFields, 'pragma')).has('no-cache') ? '5.4: Pragma' : undefined;
}

function ageForbids(stored: Stored, use: Use, effective: Directives, isTargeted: boolean, asked: Directives): string | undefined {
  const age = use.at - stored.at + numberOf(fieldOf(stored.fields, 'age') ?? '0', Number.POSITIVE_INFINITY);
  const lifetime = lifetimeOf(stored, effective, isTargeted);
  const maxAge = asked.has('max-age') ? argumentOf(asked, 'max-age', 0) : Number.POSITIVE_INFINITY;
  if (age > maxAge + SLACK) return '5.2.1.1: older than the request takes';
  const minFresh = asked.has('min-fresh') ? argumentOf(asked, 'min-fresh', Number.POSITIVE_INFINITY) : 0;
  if (minFresh > 0 && lifetime - age < minFresh - SLACK) return '5.2.1.3: not fresh for long enough';
  if (age < lifetime + SLACK) return undefined;
  if (['must-revalidate', 'proxy-revalidate', 's-maxage'].some((name) => effective.has(name))) return '4.2.4: stale, and must be validated';
  const maxStale = !asked.has('max-stale')
    ? 0
    : asked.get('max-stale')?.[0] === ''
      ? Number.POSITIVE_INFINITY
      : argumentOf(asked, 'max-stale', 0);
  const extended =
    asked.has('max-age') || minFresh > 0
      ? 0
      : Math.max(argumentOf(effective, 'stale-while-revalidate', 0), use.isError ? argumentOf(effective, 'stale-if-error', 0) : 0);
  if (age < lifetime + Math.max(maxStale, extended) + SLACK) return undefined;
  return '4.2.4: stale';
}

/** Dates have whole seconds. */
const SLACK = 1;

/** Section 4.2.1. */
function lifetimeOf({ fields, date }: Stored, effective: Directives, isTargeted: boolean): number {
  for (const name of ['s-maxage', 'max-age']) if (effective.has(name)) return argumentOf(effective, name, 0);
  const expires = isTargeted ? undefined : fieldOf(fields, 'expires');
  if (expires === undefined) return 0;
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(expires)) return 0;
  return new Date(expires).getTime() / 1_000 - date;
}

/** Section 4.1. */
function varyForbids(stored: Stored, use: Use): string | undefined {
  const vary = fieldOf(stored.fields, 'vary');
  if (vary === undefined) return undefined;
  for (const name of vary.split(',').map((part) => part.trim().toLowerCase())) {
    if (name === '*') return '4.1: Vary: *';
    if (fieldOf(stored.requestFields, name) !== fieldOf(use.requestFields, name)) return `4.1: Vary: ${name}`;
  }
  return undefined;
}

type Directives = ReadonlyMap<string, readonly string[]>;

function directivesOf(field: string | undefined): Directives {
  const found = new Map<string, string[]>();
  let rest = field ?? '';
  while (rest !== '') {
    const [all, name = '', quoted, token = ''] = /^[\s,]*([^\s,="]*)(?:=(?:"([^"]*)"|([^,]*)))?[^,]*/.exec(rest) ?? [rest];
    if (name !== '') found.set(name.toLowerCase(), [...(found.get(name.toLowerCase()) ?? []), (quoted ?? token).trim()]);
    rest = rest.slice(Math.max(1, all.length));
  }
  return found;
}

/** RFC 9213: the generated ones are either plain or broken; a broken one is as good as none. */
function targetedOf(field: string | undefined): Directives | undefined {
  if (field === undefined || field.trim() === '') return undefined;
  const isDictionary = field.split(',').every((part) => /^\s*[a-z*][a-z0-9_.*-]*(=(-?\d{1,15}|"[^"]*"|[A-Za-z*][\w-]*))?\s*$/.test(part));
  // Of members with the same name the last one counts (RFC 9651 section 4.2.2).
  return isDictionary ? new Map([...directivesOf(field)].map(([name, given]) => [name, given.slice(-1)])) : undefined;
}

/** Not twice, and a number: else it is as if it were the worst. */
function argumentOf(directives: Directives, name: string, worst: number): number {
  const given = directives.get(name);
  if (given === undefined) return 0;
  return given.length === 1 ? numberOf(given[0] ?? '', worst) : worst;
}

function numberOf(text: string, otherwise: number): number {
  return /^[0-9]+$/.test(text) ? Number.parseInt(text, 10) : otherwise;
}

function fieldOf(fields: Fields, name: string): string | undefined {
  return Object.entries(fields).find(([given]) => given.toLowerCase() === name)?.[1];
}
