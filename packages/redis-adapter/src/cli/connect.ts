import type { Cluster, Redis, RedisOptions } from 'ioredis';

/** Connections to look through. */
export interface Connection {
  /** The server itself, or every master of its cluster. */
  masters(): readonly Redis[];
  /** All nodes, since a process may listen at any. */
  nodes(): readonly Redis[];
  disconnect(): void;
}

/**
 * Connects to the server of a URL, and to its cluster if it is a node of one.
 *
 * @throws Error with what to do, without the URL's password
 */
export async function connect(url: string, signal: AbortSignal): Promise<Connection> {
  const { Cluster, Redis } = await loadClient();
  const single = new Redis(url, SETTINGS);
  let reason: Error | undefined;
  single.on('error', (error: Error) => (reason = error)); // the commands say only that the connection is closed
  signal.addEventListener('abort', () => single.disconnect(), { once: true });
  try {
    await single.connect();
    const info = await single.info('cluster');
    if (!info.includes('cluster_enabled:1'))
      return { masters: () => [single], nodes: () => [single], disconnect: () => single.disconnect() };
    const cluster = new Cluster([addressOf(single)], { lazyConnect: true, redisOptions: credentialsOf(single) });
    cluster.on('error', () => {});
    await cluster.connect();
    single.disconnect();
    return ofCluster(cluster);
  } catch (error) {
    single.disconnect();
    throw reason ?? error;
  }
}

function ofCluster(cluster: Cluster): Connection {
  return { masters: () => cluster.nodes('master'), nodes: () => cluster.nodes('all'), disconnect: () => cluster.disconnect() };
}

/** ioredis is the user's: only this file loads it, and only when it is needed. */
async function loadClient() {
  try {
    const { Cluster, Redis } = await import('ioredis');
    return { Cluster, Redis };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')) throw error;
    throw new Error('oneflight top needs ioredis beside this package: npm install ioredis', { cause: error });
  }
}

const SETTINGS = {
  lazyConnect: true,
  connectTimeout: 5_000,
  commandTimeout: 5_000,
  disconnectTimeout: 100, // else Ctrl-C would wait for a server that is silent
  maxRetriesPerRequest: 0,
  retryStrategy: (attempt: number) => Math.min(2_000, 100 * attempt),
  connectionName: 'oneflight-top',
  replyMapping: 'legacy',
} as const satisfies RedisOptions;

function addressOf({ options }: Redis): { host: string; port: number } {
  return { host: options.host ?? '127.0.0.1', port: options.port ?? 6379 };
}

function credentialsOf({ options }: Redis) {
  const { username, password, tls } = options;
  const { retryStrategy: _, ...settings } = SETTINGS;
  return {
    ...settings,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  };
}
