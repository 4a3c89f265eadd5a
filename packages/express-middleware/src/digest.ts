import { createHash } from 'node:crypto';

/** A hash of a value that JSON can tell apart. UTF-16, because UTF-8 would fold different lone surrogates into one. */
export function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value), 'utf16le').digest('base64url');
}
