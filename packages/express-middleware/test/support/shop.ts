import { once } from 'node:events';
import { Agent, createServer, type IncomingHttpHeaders, request as send, type Server } from 'node:http';

import {
  type Clock,
  type Collapser,
  type CollapserOptions,
  type Coordinator,
  type CoordinatorLink,
  createCollapser,
  type SettleRequest,
  systemClock,
} from '@oneflight/core';
import { endedCalls, memoryHub } from '@oneflight/core/testing';
import express, { type Express, type RequestHandler } from 'express';
import { afterEach, expect } from 'vitest';

import { collapse, type CollapseHandler, type CollapseOptions, type CollapseStats } from '../../src/index.js';

const opened: { servers: Server[]; collapsers: Collapser[]; middlewares: CollapseHandler[] } = {
  ...{ servers: [], collapsers: [], middlewares: [] },
};

afterEach(async () => {
  for (const server of opened.servers.splice(0)) server.close().closeAllConnections();
  const collapsers = opened.collapsers.splice(0);
  await Promise.all(collapsers.map((collapser) => collapser.close({ drainMs: 0 })));
  for (const collapser of collapsers) {
    const { totals } = collapser.stats();
    expect(endedCalls(totals), 'each call is counted in exactly one way to end').toBe(totals.calls);
  }
  for (const middleware of opened.middlewares.splice(0)) {
    const ended = ({ handled, replayed, unserved, failed, elsewhere, left }: CollapseStats): number =>
      handled + replayed + Object.values(unserved).reduce((sum, count) => sum + count, 0) + failed + elsewhere + left.waiting;
    const difference = (): number => middleware.stats().collapsed - ended(middleware.stats());
    await expect.poll(difference, { message: 'each request is counted in exactly one way to end' }).toBe(0);
  }
});

export interface Ask {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
  readonly json?: unknown;
}

export interface Answer {
  readonly status: number | undefined;
  readonly message: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly raw: Buffer;
  readonly body: string;
}

export interface ShopOptions {
  /** Runs before `collapse()`. */
  readonly before?: readonly RequestHandler[];
  /** Runs after it, before the handler. */
  readonly inside?: readonly RequestHandler[];
  readonly trustProxy?: boolean;
  /** Collapse inside each replica only. */
  readonly alone?: boolean;
  readonly collapser?: CollapserOptions;
  /** The time of the store, of which expiries and ages are counted. */
  readonly clock?: Clock;
  /** What happens to the bytes of an answer on their way to other replicas. */
  readonly tamper?: (bytes: Uint8Array) => Uint8Array;
}

/** Replicas of one shop in this process, each with a server of its own. `gate` is what its handler may wait for. */
export async function startShop(count: number, handler: RequestHandler, options?: CollapseOptions, shop: ShopOptions = {}) {
  const hub = memoryHub({ clock: shop.clock ?? systemClock });
  const collapsers = Array.from({ length: count }, () =>
    createCollapser({ ...(shop.alone !== true && { coordinator: tampered(hub.coordinator(), shop.tamper) }), ...shop.collapser }),
  );
  const calls: string[] = [];
  const counted: RequestHandler = (request, response, next) => {
    calls.push(`${request.method} ${request.originalUrl}`);
    return handler(request, response, next);
  };
  const middlewares = collapsers.map((collapser) => collapse(collapser, options));
  const servers = await Promise.all(middlewares.map((middleware) => listen(middleware, counted, shop)));
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  opened.collapsers.push(...collapsers);
  opened.servers.push(...servers);
  opened.middlewares.push(...middlewares);
  const waiters = () => collapsers.reduce((sum, collapser) => sum + collapser.stats().waiters, 0);
  return {
    collapsers,
    middlewares,
    ports: servers.map(portOf),
    calls,
    gate,
    open: () => open(),
    ask: (replica: number, what: Ask) => ask(portOf(servers[replica]), what),
    allWait: (expected: number) => expect.poll(waiters, { interval: 5, timeout: 4_000 }).toBe(expected),
    allRun: (expected: number) => expect.poll(() => calls.length, { interval: 5, timeout: 4_000 }).toBe(expected),
  };
}

/** A coordinator that changes what is settled. */
function tampered(coordinator: Coordinator, tamper: ShopOptions['tamper']): Coordinator {
  if (tamper === undefined) return coordinator;
  const settle = (link: CoordinatorLink, request: SettleRequest) =>
    link.settle(
      request.outcome.kind === 'value' ? { ...request, outcome: { kind: 'value', bytes: tamper(request.outcome.bytes) } } : request,
    );
  return {
    ...(coordinator.clock !== undefined && { clock: coordinator.clock }),
    connect(replica) {
      const link = coordinator.connect(replica);
      return new Proxy(link, {
        get(target, name) {
          if (name === 'settle') return (request: SettleRequest) => settle(target, request);
          const value: unknown = Reflect.get(target, name, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
}

/** Serves what a handler answers behind these middlewares. */
async function listen(middleware: CollapseHandler, handler: RequestHandler, shop: ShopOptions): Promise<Server> {
  const app = express();
  if (shop.trustProxy === true) app.set('trust proxy', true);
  app.use((request, response, next) => {
    response.set('X-Request-Id', request.get('x-caller') ?? 'none');
    response.set('Access-Control-Allow-Origin', request.get('origin') ?? '*');
    next();
  });
  for (const before of shop.before ?? []) app.use(before);
  app.use(middleware);
  for (const inside of shop.inside ?? []) app.use(inside);
  app.use(handler);
  return serve(app);
}

async function serve(app: Express): Promise<Server> {
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** Serves an application until the test has ended; returns its port. */
export async function serveApp(app: Express): Promise<number> {
  const server = await serve(app);
  opened.servers.push(server);
  return portOf(server);
}

function portOf(server: Server | undefined): number {
  const address = server?.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** All replicas have one name, as they have behind a load balancer. */
export function ask(port: number, { method = 'GET', path = '/', headers = {}, signal, json }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { port, method, path, headers: { host: 'shop.example', ...headers }, agent: new Agent(), ...(signal && { signal }) };
    const request = send({ host: '127.0.0.1', ...options }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const raw = Buffer.concat(chunks);
        resolve({ status: response.statusCode, message: response.statusMessage, headers: response.headers, raw, body: raw.toString() });
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    if (json !== undefined) request.setHeader('Content-Type', 'application/json');
    request.end(json === undefined ? undefined : JSON.stringify(json));
  });
}
