import type { Socket } from 'node:net';
import type { CircuitState } from '@oneflight/core';
import type { Cluster, Redis } from 'ioredis';
import { Breaker } from './breaker.js';
import type { ResolvedBreaker } from './breaker-options.js';
import { type Client, isCluster } from './clients.js';
import type { Connection } from './connection.js';

/**
 * One breaker per server. On Cluster a master can be away while the others answer: its keys must not wait for it, and
 * theirs must not be refused. Replicas have one too, because they are asked who listens; no key depends on it, so it is
 * told to nobody. What is not of one node (a slot without an owner, the subscription) has the breaker of the whole, which a
 * single server's is too.
 */
export class Circuits {
  readonly whole: Breaker;
  readonly #connection: Connection<Client>;
  readonly #options: ResolvedBreaker;
  readonly #silenceMs: number;
  /** By the name that ioredis gives a node: `host:port`. */
  readonly #nodes = new Map<string, Breaker>();
  readonly #listeners = new Set<(state: CircuitState) => void>();
  #told: CircuitState = 'closed';

  constructor(connection: Connection<Client>, options: ResolvedBreaker, silenceMs: number) {
    this.#connection = connection;
    this.#options = options;
    this.#silenceMs = silenceMs;
    this.whole = this.#breaker(
      () => connection.redis.ping(),
      () => bytesRead(connection.redis),
    );
    connection.redis.on('ready', () => this.#all().forEach((breaker) => breaker.probeSoon()));
    if (!isCluster(connection.redis)) return;
    connection.redis.on('-node', (node: Redis) => this.#forget(nameOf(node)));
    // A replica may have become a master, or the other way round.
    connection.redis.on('refresh', () => this.#tell());
  }

  /** The breaker of the server that has this slot. */
  ofSlot(slot: number): Breaker {
    const { redis } = this.#connection;
    if (!isCluster(redis)) return this.whole;
    const owner = redis.slots[slot]?.[0];
    return owner === undefined ? this.whole : this.ofNode(redis, owner);
  }

  /** The breaker of a node of a cluster. */
  ofNode(cluster: Cluster, name: string): Breaker {
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    let connection: Redis | undefined;
    const node = (): Redis | undefined => {
      if (connection === undefined || connection.status === 'end')
        connection = cluster.nodes('all').find((candidate) => nameOf(candidate) === name);
      return connection;
    };
    const breaker = this.#breaker(
      async () => {
        // Its slots may have another master by now: then nobody asks for this one again.
        cluster.refreshSlotsCache();
        return await (node()?.ping() ?? Promise.reject(new Error(`${name} is not a node of the cluster any more`)));
      },
      () => bytesRead(node()),
    );
    this.#nodes.set(name, breaker);
    return breaker;
  }

  /** Tells the worst state of all, now where it is not closed, and each time it changes, until the returned function is called. */
  listen(listener: (state: CircuitState) => void): () => void {
    this.#listeners.add(listener);
    if (this.#told !== 'closed') listener(this.#told);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  close(): void {
    for (const breaker of this.#all()) breaker.close();
  }

  #breaker(ping: () => Promise<unknown>, bytes: () => number): Breaker {
    const server = { silenceMs: this.#silenceMs, ping: () => this.#connection.gate.pass().then(ping), bytesRead: bytes };
    const breaker = new Breaker(this.#options, server);
    breaker.listen(() => this.#tell());
    return breaker;
  }

  /** It left the cluster: what it was like is nobody's trouble any more. */
  #forget(name: string): void {
    this.#nodes.get(name)?.close();
    this.#nodes.delete(name);
    this.#tell();
  }

  #tell(): void {
    const states = [this.whole, ...this.#masters()].map(({ state }) => state);
    const worst = WORST_FIRST.find((state) => states.includes(state)) ?? 'closed';
    if (worst === this.#told) return;
    this.#told = worst;
    for (const listener of this.#listeners) listener(worst);
  }

  #masters(): readonly Breaker[] {
    const { redis } = this.#connection;
    if (!isCluster(redis)) return [];
    return redis.nodes('master').flatMap((node) => this.#nodes.get(nameOf(node)) ?? []);
  }

  #all(): readonly Breaker[] {
    return [this.whole, ...this.#nodes.values()];
  }
}

const WORST_FIRST: readonly CircuitState[] = ['open', 'half_open', 'closed'];

/** How ioredis names a node of a cluster in its table of slots. */
export function nameOf({ options }: Redis): string {
  return `${options.host}:${options.port}`;
}

function bytesRead(client: Client | undefined): number {
  if (client === undefined) return 0;
  const servers = isCluster(client) ? client.nodes('all') : [client];
  // There is no stream before the first attempt to connect.
  return servers.reduce((sum, server) => sum + ((server.stream as Socket | undefined)?.bytesRead ?? 0), 0);
}
