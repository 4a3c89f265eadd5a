import type { Request } from 'express';

/** Status and headers of an answer; names are lower-case. */
export interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string | readonly string[]>;
}

/**
 * Whether a request may be answered by another one's answer at all. One that asks for a part, states a condition on a
 * change, brings a body, or forbids storing is about itself only.
 */
export function mayCollapse(request: Request): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  if (OWN_BUSINESS.some((name) => request.headers[name] !== undefined)) return false;
  if ((request.headers['content-length'] ?? '0') !== '0') return false;
  return !directives(request.headers['cache-control']).includes('no-store');
}

const OWN_BUSINESS = ['range', 'if-range', 'if-match', 'if-unmodified-since', 'upgrade', 'transfer-encoding'] as const;

/** Whether an answer may be given to others than the caller whose request produced it; all of it must say so. */
export function mayShare({ status, headers }: Head): boolean {
  if (status !== 200) return false;
  if (headers.has('set-cookie') || headers.has('trailer')) return false;
  if (CONTROLS.some((name) => directives(headers.get(name)).some((directive) => PRIVATE.has(directive)))) return false;
  if (varyOf(headers).includes('*')) return false;
  return !text(headers.get('content-type')).startsWith('text/event-stream');
}

const CONTROLS = ['cache-control', 'cdn-cache-control', 'surrogate-control'] as const;
const PRIVATE = new Set(['private', 'no-store']);

/** The request headers that an answer depends on by its own word, lower-case and sorted. */
export function varyOf(headers: Head['headers']): readonly string[] {
  const names = text(headers.get('vary'))
    .split(',')
    .map((name) => name.trim());
  return [...new Set(names.filter((name) => name !== ''))].sort();
}

/** `private="x-user"` counts as `private`: sharing the rest of the answer is not worth a mistake. */
function directives(value: string | readonly string[] | undefined): readonly string[] {
  return text(value)
    .split(',')
    .map((directive) => directive.split('=')[0]?.trim() ?? '');
}

function text(value: string | readonly string[] | undefined): string {
  return (typeof value === 'string' ? value : (value ?? []).join(',')).toLowerCase();
}
