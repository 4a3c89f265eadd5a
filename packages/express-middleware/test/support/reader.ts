import { connect, type Socket } from 'node:net';

import { expect, onTestFinished } from 'vitest';

/** A client that sees an answer as it comes, and reads only when it wants to. */
export interface SlowReader {
  readonly socket: Socket;
  /** All that came so far, head and chunks, as it is on the wire. */
  readonly wire: () => string;
  /** The body so far. */
  readonly body: () => string;
  /** Waits until the body begins like this. */
  readonly has: (text: string) => Promise<void>;
  /** Waits for the end: whether the answer says by itself that it is complete. */
  readonly end: () => Promise<'complete' | 'truncated'>;
}

export interface ReaderOptions {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly http?: '1.0' | '1.1';
  /** Reads nothing until its socket is resumed. */
  readonly paused?: boolean;
}

export function read(port: number, { path = '/', headers = {}, http = '1.1', paused = false }: ReaderOptions = {}): SlowReader {
  const socket = connect(port, '127.0.0.1');
  const parts: Buffer[] = [];
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => {}); // a connection that is cut
  onTestFinished(() => void socket.destroy());
  const lines = Object.entries({ Host: 'shop.example', Connection: 'close', ...headers }).map(([name, value]) => `${name}: ${value}`);
  socket.write(`GET ${path} HTTP/${http}\r\n${lines.join('\r\n')}\r\n\r\n`);
  socket.on('data', (chunk) => void parts.push(chunk));
  if (paused) socket.pause();
  const wire = (): string => Buffer.concat(parts).toString('latin1');
  const body = (): string => dechunked(wire()).body;
  return {
    socket,
    wire,
    body,
    has: (text) => expect.poll(() => body().slice(0, text.length), { interval: 5, timeout: 4_000 }).toBe(text),
    end: async () => {
      await closed; // as each request asks the server to do
      return dechunked(wire()).isComplete ? 'complete' : 'truncated';
    },
  };
}

/** The body of what is on the wire, and whether its framing says that it is all. */
function dechunked(wire: string): { readonly body: string; readonly isComplete: boolean } {
  const at = wire.indexOf('\r\n\r\n');
  if (at === -1) return { body: '', isComplete: false };
  const [head, rest] = [wire.slice(0, at), wire.slice(at + 4)];
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return { body: rest, isComplete: rest.length === Number(length) };
  if (!/transfer-encoding: chunked/i.test(head)) return { body: rest, isComplete: /^HTTP\/1.1 (?:204|304)/.test(head) };
  const bodies: string[] = [];
  for (let from = 0; ;) {
    const line = rest.indexOf('\r\n', from);
    if (line === -1) return { body: bodies.join(''), isComplete: false };
    const size = Number.parseInt(rest.slice(from, line), 16);
    if (size === 0) return { body: bodies.join(''), isComplete: true };
    bodies.push(rest.slice(line + 2, line + 2 + size));
    from = line + 2 + size + 2;
  }
}
