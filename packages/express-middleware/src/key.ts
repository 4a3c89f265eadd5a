import { createHash } from 'node:crypto';

import type { Request } from 'express';

/**
 * What makes two requests equal: method, scheme, host, the URL as it was asked for, and whose request it is. Behind a
 * load balancer scheme and host follow the app's `trust proxy` setting, as everywhere in Express.
 */
export function requestKey(request: Request): readonly (string | null)[] {
  return ['http', request.method, request.protocol, (request.host ?? '').toLowerCase(), request.originalUrl, identityOf(request)];
}

/** A hash of everything that may tell one user from another; null for a request without credentials. */
function identityOf(request: Request): string | null {
  const credentials = CREDENTIAL_HEADERS.map((name) => request.headers[name] ?? null);
  return credentials.every((value) => value === null) ? null : digest(credentials);
}

const CREDENTIAL_HEADERS = ['authorization', 'cookie', 'proxy-authorization'] as const;

/** A hash of the request headers that an answer depends on by its own word (`Vary`); names are lower-case and sorted. */
export function variantOf(request: Request, names: readonly string[]): string {
  return digest(names.map((name) => [name, request.headers[name] ?? null]));
}

/** JSON keeps the parts apart: no two lists of values give the same text. */
function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url');
}
