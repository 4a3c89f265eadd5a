import { type Coordinator, describe, misuse, type Replica } from '@oneflight/core';
import { isCluster } from './clients.js';
import { type RedisCoordinatorOptions, type RedisLike, resolveOptions } from './options.js';
import { QuorumLink } from './quorum/link.js';
import { cede, fence, propose, rejoin, release, renew, settle } from './scripts/generated.js';
import { keyNames } from './scripts/keys.js';
import { Session } from './session.js';
import { shared } from './shared.js';

/** How a {@link quorumCoordinator} works: as a redisCoordinator, but on several servers. */
export interface QuorumCoordinatorOptions extends Omit<RedisCoordinatorOptions, 'redis' | 'near'> {
  /**
   * Independent Redis servers, none a replica of another: 3 or 5. Every replica of the service names the same ones. An
   * even number costs more and survives no more.
   */
  readonly nodes: readonly [RedisLike, RedisLike, RedisLike, ...RedisLike[]];
}

/**
 * Collapses across processes through a majority of independent Redis servers: leaders are elected by redlock, outcomes
 * fan out over all servers. While a majority answers, the loss of the others loses nothing; without one, each process
 * collapses for itself. Costs as many commands as a `redisCoordinator` on each server. It stores nothing: `ttlMs` and its
 * relatives do not reach beyond the process.
 *
 * @throws TypeError ERR_ONEFLIGHT_OPTION for options that make no sense.
 */
export function quorumCoordinator(options: QuorumCoordinatorOptions): Coordinator {
  const { nodes, ...common } = checkNodes(options);
  if ('near' in common) throw misuse('ERR_ONEFLIGHT_OPTION', 'quorumCoordinator without near, because it stores nothing to copy', 'near');
  const resolved = nodes.map((redis) => resolveOptions({ ...common, redis }, 'quorumCoordinator'));
  const [first] = resolved;
  if (first === undefined) throw tooFew(nodes);
  // Leases mean something else here than on a single server: the two must not meet on the same keys.
  const names = keyNames(`${first.prefix}:quorum`);
  const share = shared(
    () => resolved.map((each) => new Session(each, QUORUM_SCRIPTS)),
    async (sessions) => void (await Promise.all(sessions.map((session) => session.close()))),
  );
  return Object.freeze({
    connect(replica: Replica): QuorumLink {
      const { opened, leave } = share();
      return new QuorumLink(opened, first, names, replica, leave);
    },
  });
}

function checkNodes(options: QuorumCoordinatorOptions): QuorumCoordinatorOptions {
  const nodes: unknown = typeof options === 'object' && options !== null ? options.nodes : options;
  if (!Array.isArray(nodes) || nodes.length < NODES_MIN) throw tooFew(nodes);
  const clusters = options.nodes.filter((node) => typeof node !== 'function' && 'isCluster' in node && isCluster(node));
  if (clusters.length > 0) throw misuse('ERR_ONEFLIGHT_OPTION', 'quorumCoordinator.nodes to be single servers', 'a Cluster');
  if (new Set(options.nodes).size < options.nodes.length)
    throw misuse('ERR_ONEFLIGHT_OPTION', 'quorumCoordinator.nodes to be different servers', 'the same client twice');
  return options;
}

const NODES_MIN = 3;
const QUORUM_SCRIPTS = [propose, fence, cede, rejoin, renew, settle, release] as const;

function tooFew(got: unknown): TypeError {
  const what = Array.isArray(got) ? `${got.length} of them` : describe(got);
  return misuse('ERR_ONEFLIGHT_OPTION', `quorumCoordinator.nodes to be at least ${NODES_MIN} ioredis clients`, what);
}
