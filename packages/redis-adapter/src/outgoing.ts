import type { CoordinatorError } from '@oneflight/core';
import type { Breaker } from './breaker.js';
import { isScriptMissing, toCoordinatorError } from './failures.js';
import { type Argument, encodeCommand, type Wire } from './wire.js';

/** What is sent: a name and its arguments, and the bytes that say so to Redis. Made when they are asked for, and not kept. */
export interface Content {
  readonly name: string;
  readonly args: readonly Argument[];
  /** The arguments as tracing may show them. */
  readonly shown: readonly Argument[];
  readonly wire: Wire;
  /** What to send instead where the server does not know the script. */
  inFull?(): Content;
}

/** Any command. */
export class PlainCommand implements Content {
  readonly name: string;
  readonly args: readonly Argument[];

  constructor(name: string, args: readonly Argument[]) {
    this.name = name;
    this.args = args;
  }

  get shown(): readonly Argument[] {
    return this.args;
  }

  get wire(): Wire {
    return encodeCommand(this.name, this.args);
  }
}

/** How a command gets to its server, and whom that concerns. */
export interface Route {
  /** The slot of its key on Cluster, which decides the node. */
  readonly slot: number;
  /** Told that it was sent and how it ended; absent for what is sent also while the circuit is open. */
  readonly breaker: Breaker | undefined;
  /** Sends it once more. */
  again(sending: Sending): void;
}

/** A command on its way to a server, whoever waits for it. */
export interface Sending {
  readonly slot: number;
  readonly content: Content;
  /** It is on its way from now on. */
  leaves(): void;
  resolve(reply: unknown): void;
  reject(error: unknown): void;
}

/**
 * One command from the question to the answer, with one promise for all of that. It is what `sendCommand` of ioredis takes
 * in place of a Command of its own, which makes four promises in a pipeline, a timer, and two copies of its arguments.
 */
export class Outgoing<T> implements Sending {
  readonly promise: Promise<T>;
  readonly slot: number;
  readonly #route: Route;
  readonly #read: (reply: unknown) => T | Promise<T>;
  #content: Content;
  /** Until it is answered. */
  #answer: ((answer: T | Promise<T>) => void) | undefined;
  #fail: (error: CoordinatorError) => void = () => {};
  #isSent = false;

  /** `read` makes the answer of a reply, in which bulk strings are Buffers; it throws for one of another shape. */
  constructor(content: Content, route: Route, read: (reply: unknown) => T | Promise<T>) {
    this.slot = route.slot;
    this.#content = content;
    this.#route = route;
    this.#read = read;
    this.promise = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
    this.resolve = (reply) => this.#replied(reply);
    this.reject = (error) => this.#failed(error);
  }

  get content(): Content {
    return this.#content;
  }

  leaves(): void {
    this.#isSent = true;
    this.#route.breaker?.sent();
  }

  // ---- For ioredis, and for tracers that look at its commands -------------------------------------------------------

  /** Replaced by tracers, with functions that call the ones before as plain functions. */
  resolve: (reply: unknown) => void;
  reject: (error: unknown) => void;
  isTraced = false;
  inTransaction = false;

  get name(): string {
    return this.#content.name;
  }

  get args(): readonly Argument[] {
    return this.#content.shown;
  }

  toWritable(): Wire {
    return this.#content.wire;
  }

  /** Replies are read here, not shaped by ioredis. */
  setReplyContext(): void {}

  /** Redis answers one connection in order, so a reply is only missing where all are: that is what `socketTimeout` finds. */
  setTimeout(): void {}

  // -------------------------------------------------------------------------------------------------------------------

  #replied(reply: unknown): void {
    const answer = this.#end();
    if (answer === undefined) return;
    this.#route.breaker?.answered();
    try {
      answer(this.#read(reply));
    } catch (error) {
      this.#fail(toCoordinatorError(error));
    }
  }

  #failed(error: unknown): void {
    if (this.#answer !== undefined && this.#content.inFull !== undefined && isScriptMissing(error)) {
      this.#content = this.#content.inFull();
      this.#route.breaker?.answered();
      this.#isSent = false;
      this.#route.again(this);
      return;
    }
    if (this.#end() === undefined) return;
    const failure = toCoordinatorError(error);
    if (this.#isSent) this.#route.breaker?.ended(failure.reason);
    else if (failure.reason === 'unavailable') this.#route.breaker?.failed();
    this.#fail(failure);
  }

  #end(): ((answer: T | Promise<T>) => void) | undefined {
    const answer = this.#answer;
    this.#answer = undefined;
    return answer;
  }
}
