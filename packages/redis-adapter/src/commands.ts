import { CoordinatorError } from '@oneflight/core';
import { type Connection, ignore } from './connection.js';
import { isScriptMissing, toCoordinatorError } from './failures.js';

/**
 * Sends commands and scripts. Those of one tick share one write, and none waits for the reply to another. Every promise
 * rejects with a CoordinatorError whose cause is what ioredis said.
 */
export class Commands {
  readonly #connection: Connection;
  #batch: Queued[] = [];

  /** The scripts are loaded at each connect, so that the first claim is as fast as the others. */
  constructor(connection: Connection, scripts: readonly { readonly lua: string }[]) {
    this.#connection = connection;
    connection.redis.on('ready', () => this.#load(scripts));
  }

  /** Runs a script by its SHA-1, or in full where the server does not know it. */
  async run<K extends string, A extends string>(
    script: Script<K, A>,
    keys: Values<K, string>,
    args: Values<A, string | number | Buffer>,
  ): Promise<unknown> {
    const rest = [script.keys.length, ...script.keys.map((name) => keys[name]), ...script.args.map((name) => args[name])];
    try {
      return await this.call('evalsha', [script.sha1, ...rest]);
    } catch (error) {
      if (!(error instanceof CoordinatorError) || !isScriptMissing(error.cause)) throw error;
      return await this.call('eval', [script.lua, ...rest]);
    }
  }

  /** Sends one command and gives its reply with bulk strings as Buffers. */
  async call(name: string, args: readonly Argument[]): Promise<unknown> {
    if (!this.#connection.gate.isOpen) await this.#connection.gate.pass();
    return await new Promise((resolve, reject) => {
      this.#batch.push({ name, args, resolve, reject });
      if (this.#batch.length === 1) setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    if (this.#connection.redis.status !== 'ready') {
      const error = new CoordinatorError('unavailable', 'the connection to Redis was lost before the command was sent');
      for (const { reject } of batch) reject(error);
      return;
    }
    const pipeline = this.#connection.redis.pipeline();
    for (const { name, args, resolve, reject } of batch) {
      pipeline.callBuffer(name, [...args], (error, reply) => (error ? reject(toCoordinatorError(error)) : resolve(reply)));
    }
    pipeline.exec().catch(ignore);
  }

  /** Where loading is refused or fails, the first call of each script falls back to EVAL, which loads it too. */
  #load(scripts: readonly { readonly lua: string }[]): void {
    const pipeline = this.#connection.redis.pipeline();
    for (const { lua } of scripts) pipeline.script('LOAD', lua);
    pipeline.exec().catch(ignore);
  }
}

/** A script as the generator writes it: its parameters have names, so their order cannot be mixed up. */
export interface Script<K extends string, A extends string> {
  readonly keys: readonly K[];
  readonly args: readonly A[];
  readonly sha1: string;
  readonly lua: string;
}

type Argument = string | number | Buffer;
type Values<N extends string, V> = Readonly<Record<NoInfer<N>, V>>;

interface Queued {
  readonly name: string;
  readonly args: readonly Argument[];
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: CoordinatorError) => void;
}
