import { connect, type Socket } from 'node:net';

/** What a server answers: bulk strings as text, nothing as null, arrays of answers. */
export type Reply = string | number | null | readonly Reply[];

/**
 * Sends one command on a connection of its own and resolves with the answer. The testkit brings no Redis client: tests of
 * a client should not lean on another copy of it. Rejects with the server's error, or when nothing comes for 5 s.
 */
export async function redisCommand(
  at: { readonly host: string; readonly port: number },
  ...args: readonly (string | number)[]
): Promise<Reply> {
  const socket = connect({ host: at.host, port: at.port, timeout: SILENCE_MS_MAX });
  socket.once('timeout', () => socket.destroy(new Error(`no answer to ${args[0]} on port ${at.port}`)));
  try {
    socket.write(request(args));
    return await firstReply(socket);
  } finally {
    socket.destroy();
  }
}

const SILENCE_MS_MAX = 5_000;

function request(args: readonly (string | number)[]): string {
  const bulk = args.map((arg) => `$${Buffer.byteLength(String(arg))}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${bulk.join('')}`;
}

async function firstReply(socket: Socket): Promise<Reply> {
  let text = '';
  for await (const chunk of socket) {
    text += String(chunk);
    const parsed = parse(text, 0);
    if (parsed === undefined) continue;
    if (parsed.reply instanceof Error) throw parsed.reply;
    return parsed.reply;
  }
  throw new Error('the connection was closed before the answer was complete');
}

/** Undefined while the answer is not complete. An error inside an array is thrown as well. */
function parse(text: string, at: number): { readonly reply: Reply | Error; readonly end: number } | undefined {
  const lineEnd = text.indexOf('\r\n', at);
  if (lineEnd === -1) return undefined;
  const line = text.slice(at + 1, lineEnd);
  const end = lineEnd + 2;
  switch (text[at]) {
    case '-':
      return { reply: new Error(line), end };
    case ':':
      return { reply: Number(line), end };
    case '$':
      return parseBulk(text, Number(line), end);
    case '*':
      return parseArray(text, Number(line), end);
    default:
      return { reply: line, end };
  }
}

function parseBulk(text: string, length: number, from: number): ReturnType<typeof parse> {
  if (length === -1) return { reply: null, end: from };
  const end = from + length + 2;
  return text.length < end ? undefined : { reply: text.slice(from, from + length), end };
}

function parseArray(text: string, length: number, from: number): ReturnType<typeof parse> {
  const items: Reply[] = [];
  let at = from;
  while (items.length < length) {
    const item = parse(text, at);
    if (item === undefined) return undefined;
    if (item.reply instanceof Error) return item;
    items.push(item.reply);
    at = item.end;
  }
  return { reply: items, end: at };
}
