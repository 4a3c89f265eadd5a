import type { Coordinator, Replica } from '@oneflight/core';
import { RedisLink } from './link.js';
import { type RedisCoordinatorOptions, resolveOptions, type ResolvedOptions } from './options.js';
import { keyNames } from './scripts/keys.js';
import { Session } from './session.js';

/**
 * Collapses across processes through one Redis (standalone or Sentinel): leaders are elected by a lease that is taken
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
  const share = sharedSession(resolved);
  return Object.freeze({
    connect(replica: Replica): RedisLink {
      const { session, leave } = share();
      return new RedisLink(session, resolved, names, replica, leave);
    },
  });
}

/** One session for all who are in at the same time; the last one out closes it. */
function sharedSession(options: ResolvedOptions): () => { readonly session: Session; readonly leave: () => Promise<void> } {
  let current: { readonly session: Session; users: number } | undefined;
  return () => {
    const mine = (current ??= { session: new Session(options), users: 0 });
    mine.users += 1;
    return {
      session: mine.session,
      async leave(): Promise<void> {
        mine.users -= 1;
        if (mine.users > 0) return;
        if (current === mine) current = undefined;
        await mine.session.close();
      },
    };
  };
}
