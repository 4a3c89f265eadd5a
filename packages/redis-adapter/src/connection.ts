import { DISCONNECT_TIMEOUT_MS, RETRY_MS_MAX } from './clients.js';
import { Gate, type Patience } from './gate.js';

/** What a Redis and a Cluster of ioredis have in common. */
export interface Connectable {
  readonly status: string;
  on(event: string, listener: (argument?: unknown) => void): unknown;
  once(event: string, listener: () => void): unknown;
  connect(): Promise<unknown>;
  disconnect(): void;
}

/**
 * One client of our own, which fails fast and reconnects for ever. Connecting begins at once; nothing is thrown when the
 * server is away, the gate says so.
 */
export class Connection<C extends Connectable> {
  readonly redis: C;
  readonly gate: Gate;
  #lastError: unknown;
  #revival: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(client: C, what: string, patience: Patience) {
    this.redis = client;
    this.gate = new Gate(what, patience);
    // Without a listener ioredis writes to the console; the gate reports what matters to those who ask.
    this.redis.on('error', (error) => {
      this.#lastError = error;
    });
    this.redis.on('ready', () => this.#ready());
    this.redis.on('close', () => this.#lost());
    this.redis.on('end', () => this.#ended());
    this.#connect();
  }

  /** Why the last attempt failed; undefined where nobody said. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Ends it. The promise resolves when the socket is gone, or soon after. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#revival);
    this.gate.shut(new Error('closed'));
    const mayEnd = ['connecting', 'connect', 'ready'].includes(this.redis.status);
    const ended = mayEnd ? this.#nextEnd() : undefined;
    this.redis.disconnect();
    await ended;
  }

  #connect(): void {
    // A failed attempt is reported by the events; this promise says nothing that they do not.
    this.redis.connect().catch(ignore);
  }

  #ready(): void {
    this.#lastError = undefined;
    if (!this.#closed) this.gate.open();
  }

  /** A connection that was up gets one patience to come back; an attempt that failed shuts the gate at once. */
  #lost(): void {
    if (this.#closed) return;
    if (this.gate.isOpen) this.gate.reopen();
    else this.gate.shut(this.#lastError);
  }

  /** ioredis gives up where its connector fails before there is a socket. We do not. */
  #ended(): void {
    if (this.#closed) return;
    this.gate.shut(this.#lastError);
    this.#revival = setTimeout(() => this.#connect(), RETRY_MS_MAX).unref();
  }

  #nextEnd(): Promise<void> {
    return new Promise((resolve) => {
      const limit = setTimeout(resolve, 2 * DISCONNECT_TIMEOUT_MS);
      this.redis.once('end', () => {
        clearTimeout(limit);
        resolve();
      });
    });
  }
}

/** For promises whose failure somebody else reports. */
export function ignore(): void {}
