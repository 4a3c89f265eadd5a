import type {
  Claim,
  ClaimRequest,
  Codec,
  CoordinatorLink,
  CoordinatorTimings,
  FlightId,
  HolderRequest,
  KeyHash,
  ReleaseRequest,
  Renewal,
  Replica,
  Settlement,
  SettleRequest,
} from '@oneflight/core';
import { CoordinatorError } from '@oneflight/core';
import { defaultCodec } from './codec.js';
import { ignore } from './connection.js';
import { encodeFrame } from './frame.js';
import { parseMessage } from './message.js';
import type { ResolvedOptions } from './options.js';
import { readClaim, readFloor, readReleased, readRenewal, readSettlement, readSubscribers } from './replies.js';
import { claim, invalidate, release, renew, settle } from './scripts/generated.js';
import { inboxOf, type KeyNames } from './scripts/keys.js';
import type { Session } from './session.js';
import type { Listener, Subscription } from './subscriber.js';

/** One collapser's link over a shared session. Each operation is one write and one reply; rules and retries are core's. */
export class RedisLink implements CoordinatorLink {
  readonly inbox: string;
  readonly timings: CoordinatorTimings;
  readonly codec: Codec = defaultCodec;
  readonly opening: Promise<void>;
  readonly #session: Session;
  readonly #options: ResolvedOptions;
  readonly #names: KeyNames;
  readonly #broadcast: string;
  readonly #subscription: Subscription;
  readonly #onClose: () => Promise<void>;
  #closed = false;

  constructor(session: Session, options: ResolvedOptions, names: KeyNames, replica: Replica, onClose: () => Promise<void>) {
    const { leaseMs, recheckMs, commandTimeoutMs, retainMs } = options;
    this.inbox = names.newInbox();
    this.timings = Object.freeze({ leaseMs, recheckMs, commandTimeoutMs, retainMs });
    this.#session = session;
    this.#options = options;
    this.#names = names;
    this.#broadcast = names.broadcast(replica.namespace);
    this.#onClose = onClose;
    this.#subscription = session.subscriber.add(listenerOf(replica, [this.inbox, this.#broadcast], options.payloadBytesMax));
    this.opening = Promise.all([session.opened(), this.#subscription.gate.settled()]).then(() => {});
  }

  /** Waits for the subscription: a follower that cannot hear would not know when to go on. */
  async claim({ key, id, min, floor, takeover }: ClaimRequest): Promise<Claim> {
    this.#checkOpen();
    if (!this.#subscription.gate.isOpen) await this.#subscription.gate.pass();
    const { leaseMs, recheckMs, payloadBytesMax } = this.#options;
    const reply = await this.#session.commands.run(
      claim,
      {
        lease: this.#names.lease(key),
        state: this.#names.state(key),
        waiters: this.#names.waiters(key),
        outcome: this.#names.outcome(key),
      },
      {
        id,
        min,
        seen: floor,
        takeover: takeover ? 1 : 0,
        leaseMs,
        stateMs: 2 * leaseMs,
        floorMs: FLOOR_MS,
        waitersMs: Math.max(8 * recheckMs + 1_000, leaseMs),
      },
    );
    return readClaim(reply, payloadBytesMax);
  }

  async renew({ key, id, token }: HolderRequest): Promise<Renewal> {
    this.#checkOpen();
    const { leaseMs } = this.#options;
    const reply = await this.#session.commands.run(
      renew,
      { lease: this.#names.lease(key), state: this.#names.state(key), waiters: this.#names.waiters(key) },
      { id, token, leaseMs, stateMs: 2 * leaseMs },
    );
    return readRenewal(reply);
  }

  /** The frame goes by a SET in the same write: arguments of scripts are seen by tracing. */
  async settle({ key, id, token, outcome }: SettleRequest): Promise<Settlement> {
    this.#checkOpen();
    const { retainMs, inlineBytesMax, payloadBytesMax } = this.#options;
    const isTooLarge = outcome.kind !== 'unshareable' && outcome.bytes.byteLength > payloadBytesMax;
    const payload = this.#names.payload(key, id);
    if (outcome.kind !== 'unshareable' && !isTooLarge) {
      // If it is refused, the script finds nothing there and says that the outcome cannot travel.
      this.#session.commands.call('set', [payload, encodeFrame(outcome), 'PX', retainMs]).catch(ignore);
    }
    const reply = await this.#session.commands.run(
      settle,
      {
        lease: this.#names.lease(key),
        state: this.#names.state(key),
        waiters: this.#names.waiters(key),
        outcome: this.#names.outcome(key),
        payload,
      },
      {
        key,
        id,
        token,
        bare: encodeFrame(outcome.kind === 'unshareable' ? outcome : UNTRAVELABLE),
        retainMs,
        recoveryMs: Math.min(retainMs, recoveryMs(this.timings)),
        inlineMax: inlineBytesMax + FRAME_HEAD_BYTES,
      },
    );
    return readSettlement(reply);
  }

  async release({ key, id, failed = false }: ReleaseRequest): Promise<void> {
    this.#checkOpen();
    const reply = await this.#session.commands.run(
      release,
      { lease: this.#names.lease(key), state: this.#names.state(key), waiters: this.#names.waiters(key) },
      { key, id, failed: failed ? 1 : 0, stateMs: 2 * this.#options.leaseMs },
    );
    readReleased(reply);
  }

  async invalidate({ key }: { readonly key: KeyHash }): Promise<number> {
    this.#checkOpen();
    const reply = await this.#session.commands.run(
      invalidate,
      { lease: this.#names.lease(key), state: this.#names.state(key) },
      { key, broadcast: this.#broadcast, floorMs: FLOOR_MS },
    );
    return readFloor(reply);
  }

  /** One command for all of them, however many flights they lead. */
  async absent(leaders: readonly FlightId[]): Promise<readonly boolean[]> {
    this.#checkOpen();
    if (leaders.length === 0) return [];
    const inboxes = [...new Set(leaders.map(inboxOf))];
    const subscribers = readSubscribers(await this.#session.commands.call('pubsub', ['NUMSUB', ...inboxes]));
    return leaders.map((id) => subscribers.get(inboxOf(id)) === 0);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.subscriber.remove(this.#subscription);
    await this.#onClose();
  }

  #checkOpen(): void {
    if (this.#closed) throw new CoordinatorError('unavailable', 'this link to Redis was closed');
  }
}

/** Longer than any load may run: what was begun before an invalidation finds its floor when it ends. */
const FLOOR_MS = 600_000;
const FRAME_HEAD_BYTES = 2;
const UNTRAVELABLE = Object.freeze({ kind: 'unshareable', why: 'untravelable' } as const);

/** The longest recheck of a waiter that the server does not know, with its jitter, and the longest that its claim may take. */
function recoveryMs({ recheckMs, commandTimeoutMs }: CoordinatorTimings): number {
  return 4 * recheckMs + Math.ceil(recheckMs / 5) + 8 * commandTimeoutMs;
}

function listenerOf(replica: Replica, channels: readonly string[], payloadBytesMax: number): Listener {
  return {
    channels,
    message: (channel, data) => replica.receive(parseMessage(channel, data, payloadBytesMax)),
    deaf: () => replica.receive({ kind: 'deaf' }),
    listening: () => replica.receive({ kind: 'listening' }),
  };
}
