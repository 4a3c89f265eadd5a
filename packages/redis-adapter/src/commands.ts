import { CoordinatorError } from '@oneflight/core';
import type { Cluster, Redis } from 'ioredis';
import { type Circuits, nameOf } from './circuits.js';
import { type Client, isCluster } from './clients.js';
import { type Connection, ignore } from './connection.js';
import { dispatch, onEachServer } from './dispatch.js';
import { type Content, Outgoing, PlainCommand, type Route, type Sending } from './outgoing.js';
import type { PreparedCall, Script } from './prepared-script.js';
import { slotOf } from './slot.js';
import type { Argument } from './wire.js';

/** Makes the answer of a reply, in which bulk strings are Buffers; throws for one of another shape. */
type Read<T> = (reply: unknown) => T | Promise<T>;

/**
 * Sends commands and scripts. The first of a tick goes at once, the others share one write; on Cluster all of a tick share
 * one per master. None waits for the reply to another.
 * Every promise rejects with a CoordinatorError whose cause is what ioredis said.
 */
export class Commands {
  readonly #connection: Connection<Client>;
  readonly #circuits: Circuits;
  readonly #isCluster: boolean;
  readonly #again = (sending: Sending): void => this.#enqueue(sending);
  #batch: Sending[] = [];
  #isGathering = false;

  /** The scripts are loaded at each connect, so that the first claim is as fast as the others. */
  constructor(connection: Connection<Client>, scripts: readonly Pick<Script, 'lua'>[], circuits: Circuits) {
    this.#connection = connection;
    this.#circuits = circuits;
    this.#isCluster = isCluster(connection.redis);
    onEachServer(connection.redis, (server) => {
      const pipeline = server.pipeline();
      for (const { lua } of scripts) pipeline.script('LOAD', lua);
      // Where loading is refused or fails, the first call of each script falls back to EVAL, which loads it too.
      pipeline.exec().catch(ignore);
    });
  }

  /**
   * Sends one command to the server that has `key`, a name or a hash. One that is not `guarded` is sent also while the
   * circuit is open, if there is a connection: a server that was frozen runs it after what it was sent before.
   */
  send<T>(content: Content, key: string, read: Read<T>, guarded = true): Promise<T> {
    const route = this.#routeOf(key, guarded);
    const outgoing = new Outgoing(content, route, read);
    const refusal = route.breaker?.refusal();
    if (refusal !== undefined) outgoing.reject(refusal);
    else if (this.#connection.gate.isOpen) this.#enqueue(outgoing);
    else this.#connection.gate.pass().then(() => this.#enqueue(outgoing), outgoing.reject);
    return outgoing.promise;
  }

  /** Calls a script by its SHA-1, or in full where the server does not know it. */
  run<T>(call: PreparedCall<string>, read: Read<T>, guarded = true): Promise<T> {
    return this.send(call, call.hash, read, guarded);
  }

  /** Sends one command to every server and gives all replies: on Cluster each of them knows its own subscribers only. */
  async callEach(name: string, args: readonly Argument[]): Promise<readonly unknown[]> {
    const { redis, gate } = this.#connection;
    if (!isCluster(redis)) return [await this.send(new PlainCommand(name, args), '', asItIs)];
    await gate.pass();
    return await Promise.all(redis.nodes('all').map((node) => this.#callNode(redis, node, name, args)));
  }

  #callNode(cluster: Cluster, node: Redis, name: string, args: readonly Argument[]): Promise<unknown> {
    const breaker = this.#circuits.ofNode(cluster, nameOf(node));
    const outgoing = new Outgoing(new PlainCommand(name, args), { slot: 0, breaker, again: this.#again }, asItIs);
    const refusal = breaker.refusal();
    if (refusal !== undefined) {
      outgoing.reject(refusal);
    } else {
      outgoing.leaves();
      node.callBuffer(name, [...args]).then(outgoing.resolve, outgoing.reject);
    }
    return outgoing.promise;
  }

  #routeOf(key: string, guarded: boolean): Route {
    const slot = this.#isCluster ? slotOf(key) : 0;
    return { slot, breaker: guarded ? this.#circuits.ofSlot(slot) : undefined, again: this.#again };
  }

  /** The first of a tick goes at once, so that Redis works while the others are put together. */
  #enqueue(sending: Sending): void {
    this.#batch.push(sending);
    if (this.#isGathering) return;
    this.#isGathering = true;
    setImmediate(() => {
      this.#isGathering = false;
      this.#flush();
    });
    if (!this.#isCluster) this.#flush();
  }

  #flush(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    const { redis } = this.#connection;
    if (redis.status === 'ready') {
      for (const sending of batch) sending.leaves();
      dispatch(redis, batch);
      return;
    }
    const error = new CoordinatorError('unavailable', 'the connection to Redis was lost before the command was sent');
    for (const sending of batch) sending.reject(error);
  }
}

function asItIs(reply: unknown): unknown {
  return reply;
}
