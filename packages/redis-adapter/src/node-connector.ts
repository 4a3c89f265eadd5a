import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { AbstractConnector, type Cluster, type ClusterOptions, type RedisOptions } from 'ioredis';

type NodeOptions = ClusterOptions['redisOptions'];
type ConnectorClass = NonNullable<RedisOptions['Connector']>;

/**
 * Makes one plain ioredis connection go to a node of a cluster, and to another one after that node is lost. A connector
 * that the user brings for the nodes is used to reach them.
 */
export function nodeConnector(cluster: Cluster, options: NodeOptions): ConnectorClass {
  let last: string | undefined;
  const next = async (): Promise<Address> => {
    const addresses = (await knownNodes(cluster)).map(addressOf);
    const others = addresses.filter((address) => nameOf(address) !== last);
    const candidates = others.length > 0 ? others : addresses;
    const chosen = candidates[Math.floor(Math.random() * candidates.length)];
    if (chosen === undefined) throw new Error('no node of the cluster is known');
    last = nameOf(chosen);
    return chosen;
  };
  return class NodeConnector extends AbstractConnector {
    #inner: AbstractConnector | undefined;

    constructor() {
      super(options?.disconnectTimeout ?? 0);
    }

    override async connect(onError: (type: string, error: Error) => void): Promise<Socket | TLSSocket> {
      const address = await next();
      this.#inner = connectorTo(address, options);
      const stream = await this.#inner.connect(onError);
      this.stream = stream;
      return stream;
    }

    override disconnect(): void {
      this.#inner?.disconnect();
    }
  };
}

/** Masters, because they stay; whoever is known where there are none. */
async function knownNodes(cluster: Cluster): Promise<ReturnType<Cluster['nodes']>> {
  if (cluster.status !== 'ready') await once(cluster, 'ready', { signal: AbortSignal.timeout(NODES_KNOWN_MS_MAX) });
  const masters = cluster.nodes('master');
  return masters.length > 0 ? masters : cluster.nodes('all');
}

/** How long the cluster may take to be known before this attempt to connect has failed. */
const NODES_KNOWN_MS_MAX = 1_000;

interface Address {
  readonly host: string;
  readonly port: number;
}

function addressOf({ options }: ReturnType<Cluster['nodes']>[number]): Address {
  return { host: options.host ?? '127.0.0.1', port: options.port ?? 6379 };
}

function nameOf({ host, port }: Address): string {
  return `${host}:${port}`;
}

function connectorTo(address: Address, options: NodeOptions): AbstractConnector {
  const settings = { ...options, ...address };
  const Connector = options?.Connector;
  return Connector === undefined ? new SocketConnector(settings) : new Connector(settings);
}

class SocketConnector extends AbstractConnector {
  readonly #options: NonNullable<NodeOptions> & Address;

  constructor(options: NonNullable<NodeOptions> & Address) {
    super(options.disconnectTimeout ?? 0);
    this.#options = options;
  }

  override connect(): Promise<Socket | TLSSocket> {
    const { host, port, family, tls } = this.#options;
    const address = family === undefined ? { host, port } : { host, port, family };
    const stream = tls === undefined ? connectTcp(address) : connectTls({ ...address, ...tls });
    this.stream = stream;
    return Promise.resolve(stream);
  }
}
