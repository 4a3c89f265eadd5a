import type { Redis } from 'ioredis';
import { Commands } from './commands.js';
import { Connection } from './connection.js';
import { checkClient, type RedisLike, type ResolvedOptions } from './options.js';
import { claim, invalidate, release, renew, settle } from './scripts/generated.js';
import { Subscriber } from './subscriber.js';

/** The two connections of a coordinator: one for commands, one for messages, so that neither holds the other up. */
export class Session {
  readonly commands: Commands;
  readonly subscriber: Subscriber;
  readonly #connections: readonly Connection[];

  constructor({ redis, commandTimeoutMs }: ResolvedOptions) {
    const [commanding, listening] = withTemplate(redis, (template) => [
      new Connection(template, 'Redis', commandTimeoutMs, { commandTimeout: commandTimeoutMs }),
      new Connection(template, 'the subscriber connection to Redis', commandTimeoutMs),
    ] as const);
    this.commands = new Commands(commanding, [claim, invalidate, release, renew, settle]);
    this.subscriber = new Subscriber(listening, commandTimeoutMs);
    this.#connections = [commanding, listening];
  }

  async close(): Promise<void> {
    this.subscriber.close();
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }
}

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
