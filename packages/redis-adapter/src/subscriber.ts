import type { Redis } from 'ioredis';
import { type Connection, ignore } from './connection.js';
import { Gate, type Patience } from './gate.js';

/**
 * The connection that messages arrive on, shared by all links. It subscribes again by itself after each reconnect and
 * tells each listener when it went deaf and when the server has acknowledged that it hears again.
 */
export class Subscriber {
  readonly #connection: Connection<Redis>;
  readonly #patience: Patience;
  readonly #subscriptions = new Set<Subscription>();
  readonly #heartbeat: NodeJS.Timeout;
  /** Counts connections, so that an acknowledgement which belongs to an earlier one is not believed. */
  #epoch = 0;

  constructor(connection: Connection<Redis>, patience: Patience) {
    this.#connection = connection;
    this.#patience = patience;
    const { redis } = connection;
    redis.on('ready', () => this.#subscribeAll());
    redis.on('close', () => this.#lost());
    redis.on('messageBuffer', (channel: Buffer, data: Buffer) => this.#deliver(channel.toString(), data));
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS).unref();
  }

  /** Begins to listen. The subscription's gate opens when the server has acknowledged all of its channels. */
  add(listener: Listener): Subscription {
    const subscription = new Subscription(listener, new Gate('the subscription to Redis', this.#patience));
    this.#subscriptions.add(subscription);
    if (this.#connection.redis.status === 'ready') this.#subscribe(subscription);
    else if (this.#connection.gate.isShut) subscription.gate.shut(this.#whyNot());
    return subscription;
  }

  /** Stops listening; channels that nobody else listens to are unsubscribed. */
  remove(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    subscription.gate.shut(new Error('closed'));
    const unused = subscription.listener.channels.filter(
      (channel) => ![...this.#subscriptions].some((other) => other.listener.channels.includes(channel)),
    );
    if (this.#connection.redis.status === 'ready' && unused.length > 0) this.#connection.redis.unsubscribe(...unused).catch(ignore);
  }

  /** Stops the heartbeat; the connection is closed by its owner. */
  close(): void {
    clearInterval(this.#heartbeat);
  }

  #subscribeAll(): void {
    for (const subscription of this.#subscriptions) this.#subscribe(subscription);
  }

  #subscribe(subscription: Subscription): void {
    const epoch = this.#epoch;
    const isCurrent = () => epoch === this.#epoch && this.#subscriptions.has(subscription);
    this.#connection.redis.subscribe(...subscription.listener.channels).then(
      () => {
        if (isCurrent()) subscription.heard();
      },
      (error: unknown) => {
        if (isCurrent()) subscription.gate.shut(error);
      },
    );
  }

  #lost(): void {
    this.#epoch += 1;
    for (const subscription of this.#subscriptions) subscription.lost(this.#whyNot());
  }

  /** Why the last attempt to connect failed, a wrong password for example, as far as anybody said. */
  #whyNot(): unknown {
    return this.#connection.lastError ?? new Error('the attempt to connect failed');
  }

  #deliver(channel: string, data: Buffer): void {
    for (const { listener } of this.#subscriptions) {
      if (listener.channels.includes(channel)) listener.message(channel, data);
    }
  }

  /** A silent link looks alive and delivers nothing: a PING makes `socketTimeout` find it. Refused subscriptions are tried again. */
  #beat(): void {
    const { redis } = this.#connection;
    if (redis.status !== 'ready') return;
    redis.ping().catch(ignore);
    for (const subscription of this.#subscriptions) {
      if (!subscription.gate.isOpen) this.#subscribe(subscription);
    }
  }
}

/** Who wants to hear what. Nothing here may throw. */
export interface Listener {
  readonly channels: readonly string[];
  message(channel: string, data: Buffer): void;
  deaf(): void;
  listening(): void;
}

/** One listener's place at the subscriber. */
export class Subscription {
  readonly listener: Listener;
  readonly gate: Gate;
  #wasDeaf = false;

  constructor(listener: Listener, gate: Gate) {
    this.listener = listener;
    this.gate = gate;
  }

  /** The server has acknowledged the channels. */
  heard(): void {
    this.gate.open();
    if (!this.#wasDeaf) return;
    this.#wasDeaf = false;
    this.listener.listening();
  }

  /** The connection is gone. One that was heard gets one patience to come back. */
  lost(why: unknown): void {
    if (!this.gate.isOpen) {
      this.#wasDeaf = true;
      this.gate.shut(why);
      return;
    }
    this.gate.reopen();
    this.#wasDeaf = true;
    this.listener.deaf();
  }
}

const HEARTBEAT_MS = 5_000;
