import { TLSSocket } from 'node:tls';

import { describe, misuse } from '@oneflight/core';
import type { Request } from 'express';

import { digest } from './digest.js';
import type { CheckedOptions } from './options.js';

/**
 * Whose request it is, as the key knows it: a hash of all that may tell one user from another, null for a request
 * without credentials or where they are to be left out.
 *
 * @throws TypeError ERR_ONEFLIGHT_KEY when `identity` is a function that returns no key part
 */
export function identityOf(request: Request, identity: CheckedOptions['identity']): string | null {
  if (identity === 'ignore') return null;
  if (typeof identity === 'function') return digest(['by function', partText(identity(request))]);
  const credentials = credentialsOf(request);
  return credentials.length === 0 ? null : digest(credentials);
}

/** Whether a request says whose it is. */
export function hasCredentials(request: Request): boolean {
  return credentialsOf(request).length > 0;
}

/** Answers to these are shared only by an explicit word of the answer, where the key does not hold them (RFC 9111 section 3.5). */
export function isAuthorized(request: Request): boolean {
  return request.headers.authorization !== undefined || request.headers['proxy-authorization'] !== undefined;
}

function credentialsOf(request: Request): readonly (readonly [string, unknown])[] {
  const found: [string, unknown][] = [];
  for (const name in request.headers) if (CREDENTIAL_HEADERS.has(name)) found.push([name, request.headers[name]]);
  const certificate = request.socket instanceof TLSSocket ? request.socket.getPeerCertificate().fingerprint256 : undefined;
  if (certificate !== undefined) found.push(['certificate', certificate]);
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** What clients, and proxies that check identities, send. One too many only means less to collapse. */
const CREDENTIAL_HEADERS = new Set([
  ...['authorization', 'cookie', 'cookie2', 'proxy-authorization', 'dpop'],
  ...['x-api-key', 'api-key', 'apikey', 'x-auth-token', 'x-access-token', 'x-session-token', 'x-session-id', 'x-user-id', 'x-tenant-id'],
  ...['x-csrf-token', 'x-xsrf-token', 'x-amz-security-token', 'x-goog-api-key', 'x-functions-key', 'ocp-apim-subscription-key'],
  ...['remote-user', 'x-remote-user', 'x-forwarded-user', 'x-forwarded-email', 'x-forwarded-groups', 'x-forwarded-access-token'],
  ...['x-auth-request-user', 'x-auth-request-email', 'x-auth-request-access-token', 'x-authenticated-user', 'x-webauth-user'],
  ...['client-cert', 'x-forwarded-client-cert', 'x-client-cert', 'x-ssl-client-cert', 'ssl-client-cert', 'x-ssl-client-verify'],
  ...['x-goog-iap-jwt-assertion', 'x-goog-authenticated-user-id', 'cf-access-jwt-assertion', 'x-ms-client-principal'],
  ...['x-amzn-oidc-data', 'x-amzn-oidc-identity', 'x-amzn-oidc-accesstoken', 'x-hasura-role', 'x-hasura-user-id'],
]);

function partText(part: unknown): readonly [string, string] {
  const isPart = part === null || ['string', 'boolean', 'bigint'].includes(typeof part) || Number.isFinite(part);
  if (!isPart) throw misuse('ERR_ONEFLIGHT_KEY', 'identity to return a string, finite number, bigint, boolean or null', describe(part));
  return [typeof part, String(part)];
}
