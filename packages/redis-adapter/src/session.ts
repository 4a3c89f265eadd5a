import type { Redis } from 'ioredis';
import { Circuits } from './circuits.js';
import { type Client, commandingClient, CONNECT_TIMEOUT_MS, isCluster, listeningClient } from './clients.js';
import { Commands } from './commands.js';
import { Connection } from './connection.js';
import type { Gate } from './gate.js';
import { checkMade, type RedisLike, type ResolvedOptions } from './options.js';
import { readSubscribers } from './replies.js';
import { advance, attach, claim, detach, invalidate, peek, release, renew, settle, take } from './scripts/generated.js';
import { Subscriber } from './subscriber.js';

/** The two connections of a coordinator: one for commands, one for messages, so that neither holds the other up. */
export class Session {
  readonly circuits: Circuits;
  readonly commands: Commands;
  readonly subscriber: Subscriber;
  /** On Cluster a script sees the subscribers of its own node only, and every message goes to every node. */
  readonly isCluster: boolean;
  readonly #connections: readonly [commanding: Connection<Client>, listening: Connection<Redis>];

  /** `scripts` are those that the session's users will run. */
  constructor({ redis, commandTimeoutMs, breaker }: ResolvedOptions, scripts: readonly { readonly lua: string }[] = LINK_SCRIPTS) {
    const patience = { firstMs: Math.max(CONNECT_TIMEOUT_MS, commandTimeoutMs), againMs: commandTimeoutMs };
    // Runs only while a reply is due, so it does not end an idle connection.
    const socketTimeout = Math.max(SILENCE_MS_MAX, 2 * commandTimeoutMs);
    const [commanding, listening] = withTemplate(redis, (template) => {
      const client = commandingClient(template, { socketTimeout, commandTimeout: LATE_REPLY_FACTOR * commandTimeoutMs });
      return [
        new Connection(client, 'Redis', patience),
        new Connection(listeningClient(template, client, { socketTimeout }), 'the subscriber connection to Redis', patience),
      ] as const;
    });
    this.isCluster = isCluster(commanding.redis);
    this.circuits = new Circuits(commanding, breaker, commandTimeoutMs);
    this.commands = new Commands(commanding, scripts, this.circuits);
    this.subscriber = new Subscriber(listening, patience);
    this.#connections = [commanding, listening];
  }

  /** Resolves when commands can be sent, or are known to have nowhere to go. */
  async opened(): Promise<void> {
    await this.#connections[0].gate.settled();
  }

  /** How many subscribers each channel has, on all servers together. */
  async subscribers(channels: readonly string[]): Promise<Map<string, number>> {
    const totals = new Map<string, number>();
    for (const reply of await this.commands.callEach('pubsub', ['NUMSUB', ...channels])) {
      for (const [channel, count] of readSubscribers(reply)) totals.set(channel, (totals.get(channel) ?? 0) + count);
    }
    return totals;
  }

  /**
   * Waits for a subscription, since who cannot hear may not claim. Where commands have nowhere to go either, the server is
   * away: the breaker learns of it here, because no command is sent.
   *
   * @throws CoordinatorError `unavailable`
   */
  async hears(subscription: Gate): Promise<void> {
    if (subscription.isOpen) return;
    const refusal = this.circuits.whole.refusal();
    if (refusal !== undefined) throw refusal;
    try {
      await subscription.pass();
    } catch (error) {
      if (!this.#connections[0].gate.isOpen) this.circuits.whole.failed();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.circuits.close();
    this.subscriber.close();
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }
}

/** Those of a single server. */
const LINK_SCRIPTS = [claim, invalidate, peek, release, renew, settle, advance, attach, detach, take] as const;
/** A link that is silent for so long while a reply is due is taken for broken. */
const SILENCE_MS_MAX = 2_000;
/**
 * Core stops waiting after a silence of `commandTimeoutMs`; it can tell a busy server or process from a silent one, and
 * gives a reply that comes late back. This bounds how long ioredis may look for the node of a cluster. A single server
 * answers in order: there a reply that is late comes, or the connection is broken, which `socketTimeout` finds.
 */
const LATE_REPLY_FACTOR = 8;

/** A client that was made for us is ours to end; the user's own is left as it is. */
function withTemplate<T>(redis: RedisLike, use: (template: Client) => T): T {
  if (typeof redis !== 'function') return use(redis);
  const made = checkMade(redis());
  made.on('error', () => {});
  try {
    return use(made);
  } finally {
    made.disconnect();
  }
}
