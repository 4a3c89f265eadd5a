import { once } from 'node:events';
import { createServer, type Server } from 'node:http';

import { collectMetrics } from '@oneflight/core/prometheus';
import { collectHttpMetrics } from '@oneflight/express-middleware/prometheus';
import { Counter, Registry } from 'prom-client';

import type { Collapsing } from './collapsing.js';

/** What one replica tells Prometheus: how its collapsers do, and what they are measured by. */
export interface ShopMetrics {
  readonly registry: Registry;
  /** Seat queries sent to PostgreSQL, collapsed or not. */
  readonly seatQueries: Counter;
}

export function createMetrics({ collapsers, middlewares }: Pick<Collapsing, 'collapsers' | 'middlewares'>): ShopMetrics {
  const registry = new Registry();
  for (const collapser of collapsers) collectMetrics(collapser, { registry });
  for (const middleware of middlewares) collectHttpMetrics(middleware, { registry });
  const seatQueries = new Counter({
    name: 'ticket_shop_seat_queries_total',
    help: 'Seat queries sent to PostgreSQL.',
    registers: [registry],
  });
  return { registry, seatQueries };
}

/**
 * Serves `/metrics` on a port of its own: the load balancer passes on the shop's port only, so no path and no way of
 * spelling one leads from outside to the metrics.
 */
export async function serveMetrics({ registry }: ShopMetrics, { host, port }: { host: string; port: number }): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (page) => response.writeHead(200, { 'content-type': registry.contentType }).end(page),
      () => response.writeHead(500).end(),
    );
  });
  server.listen({ host, port });
  await once(server, 'listening');
  return server;
}
