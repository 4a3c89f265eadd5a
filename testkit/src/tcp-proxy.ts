import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from './free-port.js';
import { createPipe, type Pipe } from './tcp-pipe.js';

export type Direction = 'toServer' | 'toClient';

/** One client's connection through the proxy. */
export interface ProxyConnection {
  readonly open: boolean;
  /** Holds back what the server answers from here on, in order, until `resume`. Followed by `cut`, it is lost. */
  pauseToClient(): void;
  /** Holds back what the client sends. */
  pauseToServer(): void;
  resume(): void;
  /** Resets it on both sides; what was held back is lost. */
  cut(): void;
}

/** A link between clients and a server that a test can bend and break. */
export interface TcpProxy {
  readonly host: string;
  readonly port: number;
  /** For Redis clients. */
  readonly url: string;
  /** Every connection so far, in the order in which they came. */
  readonly connections: readonly ProxyConnection[];
  /** Holds back every byte in one direction, or in both, also of connections to come. */
  pause(direction?: Direction): void;
  /** Ends `pause` and `refuse`, and lets through what was held back. */
  resume(): Promise<void>;
  /** Resets every connection. New ones are welcome. */
  cut(): void;
  /** Resets every connection, and refuses new ones until `resume`. */
  refuse(): Promise<void>;
  /** Delays every byte by so much, in each direction. 0 ends it. */
  latency(ms: number): void;
  stop(): Promise<void>;
}

/** Starts a proxy on a free port of 127.0.0.1. */
export async function startProxy({ target }: { target: { readonly host: string; readonly port: number } }): Promise<TcpProxy> {
  const connections: Connection[] = [];
  const link: Link = { paused: new Set(), latencyMs: 0 };
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    connections.push(new Connection(client, connect({ ...target, noDelay: true, allowHalfOpen: true }), link));
  });
  const port = await freePort();
  await listen(server, port);
  const cut = (): void => connections.forEach((connection) => connection.cut());
  const refuse = async (): Promise<void> => {
    const closed = server.listening ? once(server, 'close') : undefined;
    server.close();
    cut();
    await closed;
  };
  return {
    host: '127.0.0.1',
    port,
    url: `redis://127.0.0.1:${port}`,
    connections,
    cut,
    refuse,
    stop: refuse,
    pause(direction) {
      for (const each of direction === undefined ? (['toServer', 'toClient'] as const) : [direction]) link.paused.add(each);
    },
    async resume() {
      link.paused.clear();
      for (const connection of connections) connection.resume();
      if (!server.listening) await listen(server, port);
    },
    latency(ms) {
      link.latencyMs = ms;
    },
  };
}

/** What holds for all connections at once. */
interface Link {
  readonly paused: Set<Direction>;
  latencyMs: number;
}

class Connection implements ProxyConnection {
  readonly #sockets: readonly [Socket, Socket];
  readonly #toServer: Pipe;
  readonly #toClient: Pipe;
  readonly #paused = new Set<Direction>();

  constructor(client: Socket, server: Socket, link: Link) {
    this.#sockets = [client, server];
    const state = (direction: Direction) => () => ({
      paused: this.#paused.has(direction) || link.paused.has(direction),
      latencyMs: link.latencyMs,
    });
    this.#toServer = createPipe(client, server, state('toServer'));
    this.#toClient = createPipe(server, client, state('toClient'));
    for (const socket of this.#sockets) socket.on('error', () => this.cut());
  }

  get open(): boolean {
    return this.#sockets.every((socket) => !socket.destroyed);
  }

  pauseToClient(): void {
    this.#paused.add('toClient');
  }

  pauseToServer(): void {
    this.#paused.add('toServer');
  }

  resume(): void {
    this.#paused.clear();
    this.#toServer.flush();
    this.#toClient.flush();
  }

  cut(): void {
    this.#toServer.stop();
    this.#toClient.stop();
    for (const socket of this.#sockets) if (!socket.destroyed) socket.resetAndDestroy();
  }
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
}
