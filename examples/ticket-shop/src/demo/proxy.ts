import { once } from 'node:events';
import {
  Agent,
  createServer,
  request as send,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';

/** The load balancer of the demo. */
export interface Proxy {
  readonly port: number;
  /** How many requests it has passed on since it started. */
  requests(): number;
  close(): Promise<void>;
}

export interface ProxyOptions {
  /** Ports of the replicas that take requests now. */
  readonly ports: () => readonly number[];
  /** Answers the demo's own paths; true when it did. */
  readonly own?: (request: IncomingMessage, response: ServerResponse) => boolean;
}

/**
 * Starts a round-robin proxy on a free port. A replica that is gone costs nobody an answer: requests that may be sent
 * twice (GET and HEAD) go to the next one, as long as no byte of an answer has been passed on.
 */
export async function startProxy({ ports, own }: ProxyOptions): Promise<Proxy> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity, scheduling: 'fifo' });
  let count = 0;
  const listener: RequestListener = (request, response) => {
    if (own?.(request, response)) return;
    const replicas = ports();
    const start = count++;
    forward(
      agent,
      replicas.map((_, index) => replicas[(start + index) % replicas.length] ?? 0),
      request,
      response,
    );
  };
  const server = createServer({ keepAliveTimeout: 60_000 }, listener);
  const port = await listen(server);
  return {
    port,
    requests: () => count,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

async function listen(server: Server): Promise<number> {
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 });
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('expected a port from the system, got none');
  return address.port;
}

/** Tries the replicas in this order. */
function forward(agent: Agent, [port, ...others]: readonly number[], request: IncomingMessage, response: ServerResponse): void {
  if (port === undefined) {
    response.writeHead(502, { 'content-type': 'application/json' }).end('{"error":"no_replica"}');
    return;
  }
  const { method, url: path, headers } = request;
  const upstream = send({ agent, host: '127.0.0.1', port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.on('error', () => response.destroy()); // cut off as well, so that nobody takes half an answer for a whole one
    answer.pipe(response);
  });
  const maySendTwice = method === 'GET' || method === 'HEAD';
  upstream.on('error', () => {
    if (response.headersSent || response.destroyed) return void response.destroy();
    forward(agent, maySendTwice ? others : [], request, response);
  });
  response.once('close', () => upstream.destroy());
  if (maySendTwice) upstream.end();
  else request.pipe(upstream);
}
