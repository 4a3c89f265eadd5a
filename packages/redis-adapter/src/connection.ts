import type { Redis, RedisOptions } from 'ioredis';
import { Gate, type Patience } from './gate.js';

/**
 * One connection of our own, with the user's address and credentials and with settings that fail fast and reconnect for
 * ever. Connecting begins at once; nothing is thrown when the server is away, the gate says so.
 */
export class Connection {
  readonly redis: Redis;
  readonly gate: Gate;
  #lastError: unknown;
  #revival: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(template: Redis, what: string, patience: Patience, overrides: RedisOptions = {}) {
    this.redis = template.duplicate({ ...OWN_SETTINGS, ...overrides });
    this.gate = new Gate(what, patience);
    // Without a listener ioredis writes to the console; the gate reports what matters to those who ask.
    this.redis.on('error', (error: unknown) => {
      this.#lastError = error;
    });
    this.redis.on('ready', () => this.#ready());
    this.redis.on('close', () => this.#lost());
    this.redis.on('end', () => this.#ended());
    this.#connect();
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

/** How long one attempt to connect may take. */
export const CONNECT_TIMEOUT_MS = 1_000;
const RETRY_MS_MAX = 2_000;
const DISCONNECT_TIMEOUT_MS = 200;

/**
 * What we need to be so whatever the user's client says: nothing is queued for a server that is away or sent twice
 * behind our back, a silent link is found, replies have one shape, names arrive as we wrote them.
 */
const OWN_SETTINGS: RedisOptions = Object.freeze({
  lazyConnect: true,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  // Resubscribed by the subscriber, which has to know when the server has acknowledged it.
  autoResubscribe: false,
  // Commands of one tick share a write through our own batches: ioredis holds a batch back until the one before it is answered.
  enableAutoPipelining: false,
  keyPrefix: '',
  readOnly: false,
  monitor: false,
  replyMapping: 'legacy' as const,
  showFriendlyErrorStack: false,
  retryStrategy: retryDelayMs,
  sentinelRetryStrategy: retryDelayMs,
  // After a failover the old master answers READONLY: look for the new one.
  reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? 1 : false),
});

/** Doubles from 50 ms to 2 s, with half of it random so that replicas do not come back together. */
function retryDelayMs(attempt: number): number {
  return Math.round(Math.min(RETRY_MS_MAX, 50 * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2));
}
