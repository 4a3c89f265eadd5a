import { describe, misuse } from '@oneflight/core';
import type { Request } from 'express';

import { digest } from './digest.js';
import { identityOf } from './identity.js';
import type { CheckedOptions } from './options.js';

/**
 * What makes two requests equal, as a hash: method, scheme, host, what was asked for, whose request it is, and the headers
 * of `varyOn`. Behind a load balancer scheme and host follow the app's `trust proxy` setting, as everywhere in Express.
 *
 * @param handler The middleware that asks, as it is mounted.
 * @throws TypeError ERR_ONEFLIGHT_KEY when `key` or `identity` return what is no key; whatever they throw
 */
export function requestKey(request: Request, options: CheckedOptions, handler: unknown, method: string = request.method): string {
  const { identity, varyOn, key } = options;
  return digest([
    VERSION,
    method,
    request.protocol,
    hostOf(request),
    key === undefined ? request.originalUrl : [placeOf(request, handler), keyText(key(request))],
    typeof identity === 'string' ? identity : 'function',
    identityOf(request, identity),
    varyOn,
    valuesOf(request, varyOn),
  ]);
}

/** A hash of the request headers that an answer depends on by its own word (`Vary`); names are lower-case and sorted. */
export function variantOf(request: Request, names: readonly string[]): string {
  return digest(valuesOf(request, names));
}

/** What the option `key` says of a request, as a hash; undefined without the option, or where it says nothing that is a key. */
export function ownKeyOf(request: Request, { key }: CheckedOptions): string | undefined {
  if (key === undefined) return undefined;
  try {
    return digest([request.protocol, hostOf(request), keyText(key(request))]);
  } catch {
    return undefined;
  }
}

/** Raises when what a key covers changes, so that replicas of both kinds never share. */
const VERSION = 1;

/** The host that a request is for, without the port that its scheme implies. */
export function hostOf(request: Request): string {
  const host = (request.host ?? '').toLowerCase();
  return host.replace(request.protocol === 'https' ? /:443$/ : /:80$/, '');
}

/**
 * Keeps equal keys of different routes apart: by the pattern of the route that it is mounted on, without one (`app.use`) by
 * the path. `request.route` may be a route that the request passed before, so the route must hold this very middleware.
 */
function placeOf(request: Request, handler: unknown): readonly string[] {
  const route: unknown = request.route;
  if (typeof route !== 'object' || route === null) return [request.baseUrl, 'path', request.path];
  const layers: unknown = Reflect.get(route, 'stack');
  const isMounted = Array.isArray(layers) && layers.some((layer: object) => Reflect.get(layer, 'handle') === handler);
  return isMounted ? [request.baseUrl, 'route', String(Reflect.get(route, 'path'))] : [request.baseUrl, 'path', request.path];
}

function valuesOf(request: Request, names: readonly string[]): readonly unknown[] {
  return names.map((name) => request.headers[name] ?? null);
}

/** A key in one form: the order of an object's properties does not matter, types are kept apart. */
function keyText(key: unknown): unknown {
  if (typeof key === 'string') return ['string', key];
  if (Array.isArray(key)) return ['array', key.map(partOf)];
  if (typeof key !== 'object' || key === null) throw misuse('ERR_ONEFLIGHT_KEY', CONTRACT, describe(key));
  const entries = Object.entries<unknown>({ ...key }).sort(([a], [b]) => (a < b ? -1 : 1));
  return ['object', entries.map(([name, value]) => [name, Array.isArray(value) ? value.map(partOf) : partOf(value)])];
}

function partOf(part: unknown): unknown {
  if (part === null || typeof part === 'string' || typeof part === 'boolean' || Number.isFinite(part)) return part;
  if (typeof part === 'bigint') return { bigint: String(part) };
  throw misuse('ERR_ONEFLIGHT_KEY', CONTRACT, `one that holds ${describe(part)}`);
}

const CONTRACT = 'key to return a string, or an array or object of strings, finite numbers, bigints, booleans and null';
