import { type Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import { nodeConnector } from './node-connector.js';

/** What a user may pass: standalone and Sentinel are a Redis. By shape and not by class: the user's ioredis may be another copy. */
export type Client = Redis | Cluster;

/** How long one attempt to connect may take. */
export const CONNECT_TIMEOUT_MS = 1_000;
export const RETRY_MS_MAX = 2_000;
export const DISCONNECT_TIMEOUT_MS = 200;

export function isCluster(client: Client): client is Cluster {
  return client.isCluster;
}

/** A client for commands with the user's address and credentials and our own settings, not connected yet. */
export function commandingClient(template: Client, overrides: RedisOptions): Client {
  if (!isCluster(template)) return template.duplicate({ ...OWN_SETTINGS, ...overrides });
  return template.duplicate([], { ...OWN_CLUSTER_SETTINGS, redisOptions: nodeSettings(overrides) });
}

/**
 * A client for messages. On Cluster it is one connection to any node, since every node hears everything; ioredis' own
 * cluster subscriber does not say when it was deaf.
 */
export function listeningClient(template: Client, commanding: Client, overrides: RedisOptions): Redis {
  if (!isCluster(template)) return template.duplicate({ ...OWN_SETTINGS, ...overrides });
  if (!isCluster(commanding)) throw new TypeError('expected a Cluster to listen to, got a single server');
  const { redisOptions } = template.options;
  const Connector = nodeConnector(commanding, redisOptions);
  return new Redis({ ...redisOptions, ...OWN_SETTINGS, ...overrides, replyMapping: 'legacy', Connector });
}

/**
 * What we need to be so whatever the user's client says: nothing is queued for a server that is away or sent twice
 * behind our back, a silent link is found, replies have one shape, names arrive as we wrote them.
 */
const OWN_SETTINGS: RedisOptions = Object.freeze({
  lazyConnect: true,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  // Resubscribed by the subscriber, which has to know when the server has acknowledged it.
  autoResubscribe: false,
  // Commands of one tick share a write through our own batches: ioredis holds a batch back until the one before it is answered.
  enableAutoPipelining: false,
  keyPrefix: '',
  readOnly: false,
  monitor: false,
  replyMapping: 'legacy' as const,
  showFriendlyErrorStack: false,
  retryStrategy: retryDelayMs,
  sentinelRetryStrategy: retryDelayMs,
  // After a failover the old master answers READONLY: look for the new one.
  reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 1 : false),
});

/**
 * The redirections of one command end within about a third of a second: whoever waits for it is better served by a load
 * of its own than by a slot that is on the move for longer.
 */
const OWN_CLUSTER_SETTINGS: ClusterOptions = Object.freeze({
  lazyConnect: true,
  // Only between `ready` and the first connection to a node: our gate keeps commands back before.
  enableOfflineQueue: true,
  enableReadyCheck: true,
  enableAutoPipelining: false,
  shardedSubscribers: false,
  // A replica knows less than its master, and scripts write.
  scaleReads: 'master' as const,
  maxRedirections: 8,
  retryDelayOnMoved: 0,
  retryDelayOnFailover: 40,
  retryDelayOnClusterDown: 40,
  retryDelayOnTryAgain: 40,
  slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
  keyPrefix: '',
  clusterRetryStrategy: retryDelayMs,
  clusterNodeRetryStrategy: null,
});

/** For the connections to the nodes of a cluster, which ioredis itself opens, and closes for good when they break. */
function nodeSettings(overrides: RedisOptions) {
  const { lazyConnect: _, enableOfflineQueue: __, readOnly: ___, retryStrategy: ____, ...settings } = { ...OWN_SETTINGS, ...overrides };
  return { ...settings, replyMapping: 'legacy' as const, reconnectOnError: null };
}

/** Doubles from 50 ms to 2 s, with half of it random so that replicas do not come back together. */
function retryDelayMs(attempt: number): number {
  return Math.round(Math.min(RETRY_MS_MAX, 50 * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2));
}
