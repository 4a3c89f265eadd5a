import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';

/** A process whose connections end at once, as the kernel ends them, and never come back. */
export interface Crashable {
  /** For `redisOptions.Connector` of its clients. */
  readonly Connector: NonNullable<RedisOptions['Connector']>;
  crash(): Promise<void>;
}

export function crashable(): Crashable {
  const sockets = new Set<Socket>();
  let crashed = false;
  class CrashableConnector extends AbstractConnector {
    readonly #address: { host: string; port: number };

    constructor(options: unknown) {
      super(0);
      this.#address = options as { host: string; port: number };
    }

    override connect(): Promise<Socket> {
      if (crashed) return Promise.reject(new Error('crashed'));
      const { host, port } = this.#address;
      const socket = connect({ host, port });
      this.stream = socket;
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return Promise.resolve(socket);
    }
  }
  return {
    Connector: CrashableConnector,
    async crash() {
      crashed = true;
      const closed = [...sockets].map((socket) => once(socket, 'close'));
      for (const socket of sockets) socket.destroy();
      await Promise.all(closed);
    },
  };
}

/** A client of a single server, or of Sentinel, whose duplicates die with it, as all connections of a process do. */
export class CrashableRedis extends Redis {
  readonly #connections: Redis[] = [];

  override duplicate(changes?: Partial<RedisOptions>): Redis {
    const connection = super.duplicate(changes);
    this.#connections.push(connection);
    return connection;
  }

  async crash(): Promise<void> {
    const ends = this.#connections.map((connection) => new Promise((resolve) => connection.once('end', resolve)));
    for (const connection of this.#connections) {
      connection.connect = () => Promise.reject(new Error('crashed'));
      connection.disconnect();
    }
    await Promise.all(ends);
  }
}
