import { randomUUID } from 'node:crypto';

import type { Collapser } from '@oneflight/core';
import { collapse } from '@oneflight/express-middleware';
import compression from 'compression';
import cors from 'cors';
import express, { type Express, type RequestHandler } from 'express';
import { rateLimit, type Store as RateLimitStore } from 'express-rate-limit';
import session, { type Store as SessionStore } from 'express-session';
import helmet from 'helmet';

import type { Catalog } from './catalog.js';

export interface AppOptions {
  readonly collapser: Collapser;
  readonly catalog: Catalog;
  readonly sessions: SessionStore;
  readonly sessionSecret: string;
  readonly rateLimits: RateLimitStore;
  readonly requestsPerMinute: number;
  readonly allowedOrigins: readonly string[];
}

declare module 'express-session' {
  interface SessionData {
    user?: string;
  }
}

/** All that each request passes, in the order that docs/http.md tells, and then the routes. */
export function createApp(options: AppOptions): Express {
  const { collapser, catalog } = options;
  const app = express();
  app.set('trust proxy', 'loopback'); // nginx is the only one who says who the client is
  app.get('/internal/stats', (_request, response) => void response.json({ ...collapser.stats(), http: forAll.stats() })); // nginx hides it

  // What makes headers for one response: each keeps its own, whoever's handler ran.
  app.use(giveRequestId);
  app.use(helmet());
  app.use(cors({ origin: [...options.allowedOrigins], credentials: true }));
  // One copy of an answer serves everybody, encoded for each.
  app.use(compression({ threshold: 0 }));
  // Who is asking: before anything is shared.
  const { sessions: store, sessionSecret: secret } = options;
  app.use(session({ name: 'shop.session', store, secret, resave: false, saveUninitialized: false, cookie: { sameSite: 'lax' } }));
  // Every request counts, also one that gets another one's answer.
  app.use(rateLimit({ windowMs: 60_000, limit: options.requestsPerMinute, standardHeaders: 'draft-8', store: options.rateLimits }));

  /** The same for everybody: cookies do not matter, so visitors with a session and those without share. */
  const forAll = collapse(collapser, { identity: 'ignore', statusHeader: true });
  /** One user's own requests only: two tabs, a double click, a retry. */
  const forUser = collapse(collapser, { identity: (request) => request.session.user ?? null, statusHeader: true });

  app.post('/login', express.json(), logIn);
  app.get('/matches', forAll, sendMatches(catalog));
  app.get('/me/orders', demandUser, forUser, sendOrders(catalog));
  return app;
}

function sendMatches(catalog: Catalog): RequestHandler {
  return async (_request, response) => void response.json(await catalog.matches());
}

function sendOrders(catalog: Catalog): RequestHandler {
  return async (request, response) => void response.json(await catalog.ordersOf(request.session.user ?? ''));
}

const giveRequestId: RequestHandler = (request, response, next) => {
  response.set('X-Request-Id', request.get('x-request-id') ?? randomUUID());
  next();
};

/** Whoever says a name is believed: a real one checks a password here. */
const logIn: RequestHandler = (request, response, next) => {
  const body: unknown = request.body;
  const user: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, 'user') : undefined;
  if (typeof user !== 'string' || !/^\w{1,32}$/.test(user)) return void response.status(400).json({ error: 'no_user' });
  // A new session for a new user: an id that somebody knew before is worth nothing after.
  request.session.regenerate((error: unknown) => {
    if (error !== undefined && error !== null) return next(error);
    request.session.user = user;
    response.status(204).end();
  });
};

/** Before `collapse()`: what comes after it does not run for those who get another one's answer. */
const demandUser: RequestHandler = (request, response, next) => {
  if (request.session.user === undefined) response.status(401).json({ error: 'not_logged_in' });
  else next();
};
