import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A Redis client of one line per reply: enough to ask a server, without the reconnects and retries of a real one. */
export interface LineClient {
  /** Every line that came so far. */
  readonly received: readonly string[];
  /** Sends a line and resolves with the next one; rejects when the connection is closed first. */
  ask(command: string): Promise<string>;
  close(): void;
}

export async function connectLine(port: number): Promise<LineClient> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  const received: string[] = [];
  const asked: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  onLine(socket, (line) => {
    received.push(line);
    asked.shift()?.resolve(line);
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    for (const { reject } of asked.splice(0)) reject(new Error('the connection was closed'));
  });
  return {
    received,
    ask: (command) =>
      new Promise((resolve, reject) => {
        asked.push({ resolve, reject });
        socket.write(`${command}\r\n`);
      }),
    close: () => socket.destroy(),
  };
}

function onLine(socket: Socket, receive: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\r\n');
    rest = lines.pop() ?? '';
    lines.forEach(receive);
  });
}
