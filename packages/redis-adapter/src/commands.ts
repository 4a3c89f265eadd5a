import { CoordinatorError } from '@oneflight/core';
import type { Redis } from 'ioredis';
import { type Circuits, nameOf } from './circuits.js';
import { type Client, isCluster } from './clients.js';
import { type Connection, ignore } from './connection.js';
import { type Argument, dispatch, onEachServer, type Sending } from './dispatch.js';
import { isScriptMissing, toCoordinatorError } from './failures.js';

/**
 * Sends commands and scripts. Those of one tick share one write per server, and none waits for the reply to another.
 * Every promise rejects with a CoordinatorError whose cause is what ioredis said.
 */
export class Commands {
  readonly #connection: Connection<Client>;
  readonly #circuits: Circuits;
  #batch: Sending[] = [];

  /** The scripts are loaded at each connect, so that the first claim is as fast as the others. */
  constructor(connection: Connection<Client>, scripts: readonly { readonly lua: string }[], circuits: Circuits) {
    this.#connection = connection;
    this.#circuits = circuits;
    onEachServer(connection.redis, (server) => {
      const pipeline = server.pipeline();
      for (const { lua } of scripts) pipeline.script('LOAD', lua);
      // Where loading is refused or fails, the first call of each script falls back to EVAL, which loads it too.
      pipeline.exec().catch(ignore);
    });
  }

  /**
   * Runs a script by its SHA-1, or in full where the server does not know it. One that is not `guarded` is sent also while
   * the circuit is open, if there is a connection: a server that was frozen runs it after what it was sent before. One
   * that is sent `inFull` at once is never overtaken by what is sent later.
   */
  async run<K extends string, A extends string>(
    script: Script<K, A>,
    keys: Values<K, string>,
    args: Values<A, string | number | Buffer>,
    { guarded = true, inFull = false }: { readonly guarded?: boolean; readonly inFull?: boolean } = {},
  ): Promise<unknown> {
    const names = script.keys.map((name) => keys[name]);
    const rest = [names.length, ...names, ...script.args.map((name) => args[name])];
    const [key = ''] = names;
    if (inFull) return await this.call('eval', [script.lua, ...rest], key, guarded);
    try {
      return await this.call('evalsha', [script.sha1, ...rest], key, guarded);
    } catch (error) {
      if (!(error instanceof CoordinatorError) || !isScriptMissing(error.cause)) throw error;
      return await this.call('eval', [script.lua, ...rest], key, guarded);
    }
  }

  /** Sends one command to the server that has `key` and gives its reply with bulk strings as Buffers. */
  async call(name: string, args: readonly Argument[], key: string, guarded = true): Promise<unknown> {
    const ready = (): Promise<void> => this.#mayPass();
    const send = (): Promise<unknown> => this.#enqueue(name, args, key);
    return await (guarded ? this.#circuits.of(key).run(ready, send) : ready().then(send));
  }

  /** Sends one command to every server and gives all replies: on Cluster each of them knows its own subscribers only. */
  async callEach(name: string, args: readonly Argument[]): Promise<readonly unknown[]> {
    const { redis } = this.#connection;
    if (!isCluster(redis)) return [await this.call(name, args, '')];
    await this.#mayPass();
    const ask = (node: Redis): Promise<unknown> =>
      this.#circuits.ofMaster(redis, nameOf(node)).run(
        () => Promise.resolve(),
        () => node.callBuffer(name, [...args]).catch((error: unknown) => Promise.reject(toCoordinatorError(error))),
      );
    return await Promise.all(redis.nodes('all').map(ask));
  }

  #enqueue(name: string, args: readonly Argument[], key: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#batch.push({ name, args, key, resolve, reject: (error) => reject(toCoordinatorError(error)) });
      if (this.#batch.length === 1) setImmediate(() => this.#flush());
    });
  }

  async #mayPass(): Promise<void> {
    if (!this.#connection.gate.isOpen) await this.#connection.gate.pass();
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    const { redis } = this.#connection;
    if (redis.status === 'ready') {
      dispatch(redis, batch);
      return;
    }
    const error = new CoordinatorError('unavailable', 'the connection to Redis was lost before the command was sent');
    for (const { reject } of batch) reject(error);
  }
}

/** A script as the generator writes it: its parameters have names, so their order cannot be mixed up. */
export interface Script<K extends string, A extends string> {
  readonly keys: readonly K[];
  readonly args: readonly A[];
  readonly sha1: string;
  readonly lua: string;
}

type Values<N extends string, V> = Readonly<Record<NoInfer<N>, V>>;
