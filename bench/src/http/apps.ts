import { createCollapser } from '@oneflight/core';
import { collapse } from '@oneflight/express-middleware';
import express, { type Express } from 'express';

/** One route, without the middleware and with it in each way in which a route does not collapse. */
export const APPS: Readonly<Record<string, () => Express>> = {
  'plain Express': () => app('private'),
  'middleware, skipped': () => app('private', { skip: () => true }),
  'middleware, never shared (private)': () => app('private', {}),
  'middleware, alone each time': () => app('public', {}),
};

function app(cacheControl: string, options?: Parameters<typeof collapse>[1]): Express {
  const made = express();
  if (options !== undefined) made.use(collapse(createCollapser(), options));
  return made.get('/', (_request, response) => void response.set('Cache-Control', cacheControl).json({ seats: [1, 2, 3] }));
}
