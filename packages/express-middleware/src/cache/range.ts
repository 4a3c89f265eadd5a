/** A part of a body: the first and the last byte. */
export interface Part {
  readonly first: number;
  readonly last: number;
}

/**
 * What of a body a request asks for: a part, `whole` where its header is none or asks for several (RFC 9110 section 14.2 lets
 * a server ignore it), `none` where the body has no such part.
 */
export function partOf(range: string | undefined, length: number): Part | 'whole' | 'none' {
  const [, from = '', to = ''] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range ?? '') ?? [];
  if (from === '' && to === '') return 'whole';
  if (from === '') return Number(to) === 0 || length === 0 ? 'none' : { first: Math.max(0, length - Number(to)), last: length - 1 };
  if (to !== '' && Number(to) < Number(from)) return 'whole';
  if (Number(from) >= length) return 'none';
  return { first: Number(from), last: to === '' ? length - 1 : Math.min(Number(to), length - 1) };
}

/**
 * Whether the part that a caller has belongs to this answer (RFC 9110 section 13.1.5): only a strong validator says so, and of
 * dates only one that is a second older than the answer.
 */
export function isSameAnswer(ifRange: string | undefined, headers: ReadonlyMap<string, string | readonly string[]>): boolean {
  if (ifRange === undefined) return true;
  const condition = ifRange.trim();
  if (condition.endsWith('"')) return !condition.startsWith('W/') && headers.get('etag') === condition;
  const [modified, date] = ['last-modified', 'date'].map((name) => headers.get(name));
  if (modified !== condition || typeof modified !== 'string' || typeof date !== 'string') return false;
  return Date.parse(date) - Date.parse(modified) >= 1_000;
}
