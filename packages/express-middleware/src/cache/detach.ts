import { ServerResponse } from 'node:http';

import type { Request, Response } from 'express';

import type { HeaderMap } from '../answer.js';
import { StepAsideError } from '../errors.js';

/**
 * Makes a request ready to run its handler for others after its own caller was answered: waits until that answer is sent, and
 * then turns the response into one that nobody reads, with the headers that it had when it came here. The handler, and what
 * the router passes on, hold on to the very same objects.
 *
 * @param before The headers that it had.
 * @throws StepAsideError when the caller reads too slowly to wait for
 */
export async function detach(request: Request, response: Response, before: HeaderMap): Promise<void> {
  await closed(response);
  renew(response, request, before);
  Object.defineProperty(request, 'socket', { value: withoutConnection(request.socket), configurable: true, writable: true });
}

/** The connection may be serving the next request by now: nothing that is done to it from here reaches it. */
function withoutConnection(socket: Request['socket']): Request['socket'] {
  const own: Record<string | symbol, unknown> = { destroy: () => socket, readableEnded: true };
  return new Proxy(socket, {
    get: (real, name): unknown => (Object.hasOwn(own, name) ? own[name] : Reflect.get(real, name)),
    set: (_real, name, value: unknown) => Reflect.set(own, name, value),
  });
}

function closed(response: Response): Promise<void> {
  if (response.closed) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      response.off('close', onClose);
      reject(new StepAsideError('this caller reads its own answer slowly, so it does not run for others'));
    }, PATIENCE_MS);
    const onClose = (): void => {
      clearTimeout(timer);
      resolve();
    };
    response.once('close', onClose);
  });
}

const PATIENCE_MS = 1_000;

/** Gives the response the state of a new one, and takes away what others patched: all of that has done its work. */
function renew(response: Response, request: Request, before: HeaderMap): void {
  const blank = new ServerResponse(request);
  const prototype = Reflect.getPrototypeOf(response) ?? {};
  const isPart = (name: string | symbol): boolean => Reflect.has(prototype, name);
  for (const name of Reflect.ownKeys(response)) {
    if (!Object.hasOwn(blank, name) && (isPart(name) || name === 'flush')) Reflect.deleteProperty(response, name);
  }
  for (const name of Reflect.ownKeys(blank)) {
    const property = Object.getOwnPropertyDescriptor(blank, name);
    if (property !== undefined) Object.defineProperty(response, name, property);
  }
  for (const [name, value] of before) response.setHeader(name, value);
}
