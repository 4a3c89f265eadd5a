import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { freePort } from './free-port.js';
import { FrameReader, stringsOf } from './resp-frames.js';

/** One command, as a client sent it. */
export interface RespCommand {
  /** Counts the connections of the proxy from 0. */
  readonly connection: number;
  /** In upper case. */
  readonly name: string;
  readonly args: readonly Buffer[];
}

/** One published message on its way to a subscriber. */
export interface RespMessage {
  readonly connection: number;
  readonly channel: string;
  readonly data: Buffer;
}

/** `hold`: this and whatever follows on the connection waits for `release`. `cut`: the connection is reset, this is lost. */
export type Verdict = 'pass' | 'hold' | 'cut';
export type MessageVerdict = Verdict | 'drop' | 'twice' | { readonly delayMs: number };

/** What happens to each command, reply and message. What has no rule passes. */
export interface RespRules {
  /** Before the server gets it. */
  command?(command: RespCommand): Verdict;
  /** After the server ran it, before the client hears. */
  reply?(command: RespCommand, reply: Buffer): Verdict;
  message?(message: RespMessage): MessageVerdict;
}

/** A link to a Redis server that knows commands, replies and messages apart. Messages are known in RESP3 only. */
export interface RespProxy {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** The rules for what comes from now on. */
  rules: RespRules;
  /** Lets through what is held, without asking the rules again. */
  release(): void;
  stop(): Promise<void>;
}

/** Starts a proxy on a free port of 127.0.0.1. */
export async function startRespProxy({ target }: { target: { readonly host: string; readonly port: number } }): Promise<RespProxy> {
  const connections: Connection[] = [];
  const state: { rules: RespRules } = { rules: {} };
  const server = createServer({ noDelay: true }, (client) => {
    connections.push(new Connection(client, connect({ ...target, noDelay: true }), connections.length, () => state.rules));
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: '127.0.0.1',
    port,
    url: `redis://127.0.0.1:${port}`,
    get rules() {
      return state.rules;
    },
    set rules(rules) {
      state.rules = rules;
    },
    release: () => connections.forEach((connection) => connection.release()),
    async stop() {
      const closed = once(server, 'close');
      server.close();
      for (const connection of connections) connection.cut();
      await closed;
    },
  };
}

class Connection {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #number: number;
  readonly #rules: () => RespRules;
  /** Commands that the server owes a reply, and how many frames of it are still to come. */
  readonly #owed: { readonly command: RespCommand; frames: number }[] = [];
  /** What waits for `release`, by direction; absent while nothing is held. */
  #heldCommands: (() => void)[] | undefined;
  #heldReplies: (() => void)[] | undefined;

  constructor(client: Socket, server: Socket, number: number, rules: () => RespRules) {
    this.#client = client;
    this.#server = server;
    this.#number = number;
    this.#rules = rules;
    const commands = new FrameReader();
    const replies = new FrameReader();
    client.on('data', (chunk) => commands.push(chunk).forEach((frame) => this.#onCommand(frame)));
    server.on('data', (chunk) => replies.push(chunk).forEach((frame) => this.#onAnswer(frame)));
    for (const socket of [client, server]) {
      socket.on('error', () => this.cut());
      // Whoever is gone is gone for the other side too: the server sees that a killed client has left.
      socket.on('close', () => this.cut());
    }
  }

  release(): void {
    const held = [...(this.#heldCommands ?? []), ...(this.#heldReplies ?? [])];
    this.#heldCommands = undefined;
    this.#heldReplies = undefined;
    for (const pass of held) pass();
  }

  cut(): void {
    for (const socket of [this.#client, this.#server]) if (!socket.destroyed) socket.resetAndDestroy();
  }

  #onCommand(frame: Buffer): void {
    const [name = Buffer.alloc(0), ...args] = stringsOf(frame);
    const command = { connection: this.#number, name: name.toString().toUpperCase(), args };
    const pass = (): void => {
      this.#owed.push({ command, frames: command.name.endsWith('SUBSCRIBE') ? Math.max(1, args.length) : 1 });
      write(this.#server, frame);
    };
    if (this.#heldCommands !== undefined) return void this.#heldCommands.push(pass);
    const verdict = this.#rules().command?.(command) ?? 'pass';
    if (verdict === 'pass') pass();
    else if (verdict === 'hold') this.#heldCommands = [pass];
    else this.cut();
  }

  #onAnswer(frame: Buffer): void {
    const pass = (): void => write(this.#client, frame);
    const verdict = this.#judge(frame);
    if (this.#heldReplies !== undefined) return void this.#heldReplies.push(pass);
    if (verdict === 'pass') return pass();
    if (verdict === 'hold') return void (this.#heldReplies = [pass]);
    if (verdict === 'cut') return this.cut();
    if (verdict === 'drop') return;
    if (verdict === 'twice') {
      pass();
      return pass();
    }
    setTimeout(pass, verdict.delayMs);
  }

  #judge(frame: Buffer): MessageVerdict {
    if (frame[0] === PUSH) {
      const [kind, channel, data] = stringsOf(frame);
      if (kind?.toString() === 'message' && channel !== undefined && data !== undefined) {
        return this.#rules().message?.({ connection: this.#number, channel: channel.toString(), data }) ?? 'pass';
      }
    }
    const owed = this.#owed[0];
    if (owed === undefined) return 'pass';
    owed.frames -= 1;
    if (owed.frames > 0) return 'pass';
    this.#owed.shift();
    return this.#rules().reply?.(owed.command, frame) ?? 'pass';
  }
}

const PUSH = 0x3e;

function write(socket: Socket, frame: Buffer): void {
  if (!socket.destroyed) socket.write(frame);
}
