import type { Coordinator, Replica } from '@oneflight/core';
import { RedisLink } from './link.js';
import { type RedisCoordinatorOptions, resolveOptions } from './options.js';
import { keyNames } from './scripts/keys.js';
import { Session } from './session.js';
import { shared } from './shared.js';

/**
 * Collapses across processes through one Redis (standalone, Sentinel or Cluster): leaders are elected by a lease that is taken
 * with SET NX, outcomes fan out over pub/sub.
 *
 * The client that is passed is never used or changed: its settings are copied into two connections of our own, which
 * are opened when the first collapser connects, shared by all, and closed with the last. A server that is away makes
 * operations fail, never this function or `connect`.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for options that make no sense.
 */
export function redisCoordinator(options: RedisCoordinatorOptions): Coordinator {
  const resolved = resolveOptions(options);
  const names = keyNames(resolved.prefix);
  const share = shared(
    () => new Session(resolved),
    (session) => session.close(),
  );
  return Object.freeze({
    connect(replica: Replica): RedisLink {
      const { opened, leave } = share();
      return new RedisLink(opened, resolved, names, replica, leave);
    },
  });
}
