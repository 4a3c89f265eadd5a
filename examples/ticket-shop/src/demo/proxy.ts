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
  close(): Promise<void>;
}

export interface ProxyOptions {
  /** Ports of the replicas that take requests now. */
  readonly ports: () => readonly number[];
  /** Hears of each answer. A client that left before its answer gets none. */
  readonly onAnswer?: (answer: ProxiedAnswer) => void;
}

export interface ProxiedAnswer {
  readonly tookMs: number;
  /** Half an answer is a failure, and so is a status of 500 and above. */
  readonly failed: boolean;
}

/**
 * Starts a round-robin proxy on a free port. A replica that is gone costs nobody an answer: requests that may be sent
 * twice (GET and HEAD) go to the next one, as long as no byte of an answer has been passed on.
 */
export async function startProxy({ ports, onAnswer }: ProxyOptions): Promise<Proxy> {
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity, scheduling: 'fifo' });
  let count = 0;
  const listener: RequestListener = (request, response) => {
    if (onAnswer !== undefined) watchAnswer(response, onAnswer);
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

function watchAnswer(response: ServerResponse, onAnswer: (answer: ProxiedAnswer) => void): void {
  const startedAt = performance.now();
  response.once('close', () => {
    const isWhole = response.writableFinished;
    if (isWhole || CUT_OFF.has(response))
      onAnswer({ tookMs: performance.now() - startedAt, failed: !isWhole || response.statusCode >= 500 });
  });
}

/** Answers that this proxy had to break off. */
const CUT_OFF = new WeakSet<ServerResponse>();

/** So that nobody takes half an answer for a whole one. */
function cutOff(response: ServerResponse): void {
  if (!response.destroyed) CUT_OFF.add(response);
  response.destroy();
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
    answer.on('error', () => cutOff(response));
    answer.pipe(response);
  });
  const maySendTwice = method === 'GET' || method === 'HEAD';
  upstream.on('error', () => {
    if (response.headersSent || response.destroyed) return cutOff(response);
    forward(agent, maySendTwice ? others : [], request, response);
  });
  response.once('close', () => upstream.destroy());
  if (maySendTwice) upstream.end();
  else request.pipe(upstream);
}
