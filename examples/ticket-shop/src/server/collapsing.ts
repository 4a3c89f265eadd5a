import { createCollapser, type Collapser, type Key, type Loader } from '@oneflight/core';
import { collapse, type CollapseHandler } from '@oneflight/express-middleware';
import { redisCoordinator } from '@oneflight/redis-adapter';
import type { RequestHandler } from 'express';
import { Redis } from 'ioredis';

/** `off`: each request queries. `process`: one query per replica. `cluster`: one query for all replicas. */
export type CollapseMode = (typeof COLLAPSE_MODES)[number];

export const COLLAPSE_MODES = ['off', 'process', 'cluster'] as const;

export function isCollapseMode(value: unknown): value is CollapseMode {
  return COLLAPSE_MODES.some((mode) => mode === value);
}

/** Collapsing that can be switched while the replica runs, so that the demo can show both sides. */
export interface Collapsing {
  mode: CollapseMode;
  /** The collapser of the cluster, where Redis is known. */
  readonly collapser: Collapser;
  /** All that there are, for their metrics. */
  readonly collapsers: readonly Collapser[];
  /** The middleware of each, for their metrics. */
  readonly middlewares: readonly CollapseHandler[];
  /** For routes that show what no order changes: equal requests run the handler once. */
  readonly middleware: RequestHandler;
  run<T>(key: Key, loader: Loader<T>): Promise<T>;
  /** The value now, and a new one after each invalidation on any replica. */
  watch<T>(key: Key, loader: Loader<T>, signal: AbortSignal): AsyncIterable<T>;
  /** To be awaited after each change: whoever asks this replica from then on sees the change. */
  invalidate(key: Key): Promise<void>;
  close(): Promise<void>;
}

/** Builds both collapsers once; `mode` decides which of them a request goes through. */
export function createCollapsing(options: { redisUrl: string | undefined; mode: CollapseMode }): Collapsing {
  const redis = options.redisUrl === undefined ? undefined : new Redis(options.redisUrl, { lazyConnect: true });
  redis?.on('error', () => {}); // the coordinator reports an unreachable server; requests go on, collapsed per process
  const inProcess = createCollapser({ name: 'ticket-shop-process' });
  const inCluster = redis === undefined ? inProcess : createCollapser({ name: 'ticket-shop', coordinator: redisCoordinator({ redis }) });
  const collapsers = [...new Set([inProcess, inCluster])];
  const middlewares = { process: collapse(inProcess), cluster: collapse(inCluster) };
  return {
    mode: options.mode,
    collapser: inCluster,
    collapsers,
    middlewares: Object.values(middlewares),
    middleware(request, response, next) {
      if (this.mode === 'off') next();
      else void middlewares[this.mode](request, response, next);
    },
    run(key, loader) {
      return (this.mode === 'process' ? inProcess : inCluster).run(key, loader);
    },
    watch(key, loader, signal) {
      return inCluster.watch(key, loader, { signal });
    },
    async invalidate(key) {
      await Promise.all(collapsers.map((collapser) => collapser.invalidate(key)));
    },
    async close() {
      await Promise.all(collapsers.map((collapser) => collapser.close({ drainMs: 5_000 })));
      redis?.disconnect();
    },
  };
}
