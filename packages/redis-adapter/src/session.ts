import type { Redis } from 'ioredis';
import { Commands } from './commands.js';
import { Connection, CONNECT_TIMEOUT_MS } from './connection.js';
import { checkClient, type RedisLike, type ResolvedOptions } from './options.js';
import { claim, invalidate, release, renew, settle } from './scripts/generated.js';
import { Subscriber } from './subscriber.js';

/** The two connections of a coordinator: one for commands, one for messages, so that neither holds the other up. */
export class Session {
  readonly commands: Commands;
  readonly subscriber: Subscriber;
  readonly #connections: readonly [commanding: Connection, listening: Connection];

  constructor({ redis, commandTimeoutMs }: ResolvedOptions) {
    const patience = { firstMs: Math.max(CONNECT_TIMEOUT_MS, commandTimeoutMs), againMs: commandTimeoutMs };
    // Runs only while a reply is due, so it does not end an idle connection.
    const socketTimeout = Math.max(SILENCE_MS_MAX, 2 * commandTimeoutMs);
    const [commanding, listening] = withTemplate(
      redis,
      (template) =>
        [
          new Connection(template, 'Redis', patience, { socketTimeout, commandTimeout: LATE_REPLY_FACTOR * commandTimeoutMs }),
          new Connection(template, 'the subscriber connection to Redis', patience, { socketTimeout }),
        ] as const,
    );
    this.commands = new Commands(commanding, [claim, invalidate, release, renew, settle]);
    this.subscriber = new Subscriber(listening, patience);
    this.#connections = [commanding, listening];
  }

  /** Resolves when commands can be sent, or are known to have nowhere to go. */
  async opened(): Promise<void> {
    await this.#connections[0].gate.settled();
  }

  async close(): Promise<void> {
    this.subscriber.close();
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }
}

/** A link that is silent for so long while a reply is due is taken for broken. */
const SILENCE_MS_MAX = 2_000;
/**
 * Core stops waiting after a silence of `commandTimeoutMs`; it can tell a busy server or process from a silent one, and
 * gives a reply that comes late back. This only bounds how late that may be.
 */
const LATE_REPLY_FACTOR = 8;

/** A client that was made for us is ours to end; the user's own is left as it is. */
function withTemplate<T>(redis: RedisLike, use: (template: Redis) => T): T {
  if (typeof redis !== 'function') return use(redis);
  const made = checkClient(redis(), 'what the redis function returns');
  made.on('error', () => {});
  try {
    return use(made);
  } finally {
    made.disconnect();
  }
}
