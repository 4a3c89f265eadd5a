import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** A database as a pool of connections shows it: a few queries at a time, each as long as the others; the rest queue. */
export interface Database {
  readonly port: number;
  /** Queries answered so far. */
  queries(): number;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1. A line with a number is a query; the same line comes back when it is done. */
export async function startDatabase({
  connections,
  queryMs,
}: {
  readonly connections: number;
  readonly queryMs: number;
}): Promise<Database> {
  let idle = connections;
  let answered = 0;
  const queue: { readonly socket: Socket; readonly line: string }[] = [];
  const sockets = new Set<Socket>();

  const next = (): void => {
    const query = idle > 0 ? queue.shift() : undefined;
    if (query === undefined) return;
    idle -= 1;
    setTimeout(() => {
      idle += 1;
      answered += 1;
      if (!query.socket.destroyed) query.socket.write(`${query.line}\n`);
      next();
    }, queryMs);
  };

  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true).on('error', () => socket.destroy()));
    socket.on('close', () => {
      sockets.delete(socket);
      for (let index = queue.length - 1; index >= 0; index -= 1) if (queue[index]?.socket === socket) queue.splice(index, 1);
    });
    createInterface({ input: socket }).on('line', (line) => {
      queue.push({ socket, line });
      next();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('expected a port to listen on, got none');
  return {
    port: address.port,
    queries: () => answered,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** One replica's connection to the database. */
export interface DatabaseClient {
  query(): Promise<void>;
  close(): void;
}

export async function connectToDatabase(port: number): Promise<DatabaseClient> {
  const socket = connect({ port, host: '127.0.0.1' }).setNoDelay(true);
  await once(socket, 'connect');
  const waiting = new Map<string, () => void>();
  let sequence = 0;
  createInterface({ input: socket }).on('line', (line) => {
    waiting.get(line)?.();
    waiting.delete(line);
  });
  return {
    query: () =>
      new Promise((resolve) => {
        const line = String((sequence += 1));
        waiting.set(line, resolve);
        socket.write(`${line}\n`);
      }),
    close: () => void socket.destroy(),
  };
}
