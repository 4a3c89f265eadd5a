import type {
  CacheRead,
  CacheWrite,
  Claim,
  ClaimRequest,
  Codec,
  CoordinatorLink,
  CoordinatorTimings,
  CopyRead,
  CopyStats,
  FlightId,
  HolderRequest,
  KeyHash,
  Message,
  Outcome,
  PeekRequest,
  ReleaseRequest,
  Renewal,
  Replica,
  Settlement,
  SettleRequest,
  StoredOutcome,
} from '@oneflight/core';
import { CoordinatorError } from '@oneflight/core';
import { defaultCodec } from './codec.js';
import { ignore } from './connection.js';
import { EarlyOutcomes } from './early-outcomes.js';
import { type Flight, Frames, type SealedFrame } from './frames.js';
import { linkScripts, type LinkScripts } from './link-scripts.js';
import { parseMessage } from './message.js';
import { NearValues } from './near.js';
import type { ResolvedOptions } from './options.js';
import { PlainCommand } from './outgoing.js';
import {
  type ClaimReply,
  type EntryReply,
  type LeadReply,
  readClaim,
  readFloor,
  readPeeked,
  readKnownFloor,
  readReleased,
  readRenewal,
  readSettlement,
  type StoredEntry,
  type StoredFrame,
} from './replies.js';
import { inboxOf, type KeyNames } from './scripts/keys.js';
import type { Session } from './session.js';
import type { Listener, Subscription } from './subscriber.js';
import { RedisTagIndex } from './tag-index.js';

/** One collapser's link over a shared session. Each operation is one write and one reply; rules and retries are core's. */
export class RedisLink implements CoordinatorLink {
  readonly inbox: string;
  readonly timings: CoordinatorTimings;
  readonly codec: Codec = defaultCodec;
  readonly payloadBytesMax: number;
  readonly opening: Promise<void>;
  readonly tags: RedisTagIndex;
  readonly #session: Session;
  readonly #options: ResolvedOptions;
  readonly #names: KeyNames;
  readonly #scripts: LinkScripts;
  readonly #inlineBytesMax: number;
  readonly #broadcast: string;
  readonly #subscription: Subscription;
  readonly #frames: Frames;
  readonly #replica: Replica;
  /** Only where outcomes are signed. */
  readonly #early: EarlyOutcomes | undefined;
  readonly #near: NearValues | undefined;
  readonly copies?: () => CopyStats;
  readonly #onClose: () => Promise<void>;
  readonly #unlisten: () => void;
  #closed = false;

  constructor(session: Session, options: ResolvedOptions, names: KeyNames, replica: Replica, onClose: () => Promise<void>) {
    const { leaseMs, recheckMs, commandTimeoutMs, retainMs } = options;
    this.inbox = names.newInbox();
    this.timings = Object.freeze({ leaseMs, recheckMs, commandTimeoutMs, retainMs });
    this.payloadBytesMax = options.payloadBytesMax;
    this.#session = session;
    this.#options = options;
    this.#names = names;
    this.#broadcast = names.broadcast(replica.namespace);
    this.#scripts = linkScripts(names, options, session.isCluster, this.#broadcast);
    this.#inlineBytesMax = session.isCluster ? Math.min(options.inlineBytesMax, CLUSTER_INLINE_BYTES_MAX) : options.inlineBytesMax;
    this.tags = new RedisTagIndex(session.commands, names, replica.namespace);
    this.#onClose = onClose;
    this.#unlisten = session.circuits.listen((state) => replica.receive({ kind: 'circuit', state }));
    const near = options.near && new NearValues(options.near);
    this.#near = near;
    if (near !== undefined) this.copies = () => near.stats();
    this.#replica = replica;
    this.#frames = new Frames(options);
    this.#early = this.#frames.areSigned ? new EarlyOutcomes((message) => replica.receive(message)) : undefined;
    this.#subscription = session.subscriber.add(this.#listener([this.inbox, this.#broadcast]));
    this.opening = Promise.all([session.opened(), this.#subscription.gate.settled()]).then(() => {});
  }

  /** Waits for the subscription: a follower that cannot hear would not know when to go on. */
  async hears(): Promise<void> {
    this.#checkOpen();
    await this.#session.hears(this.#subscription.gate);
  }

  copyOf({ key, floor, read }: { key: KeyHash; floor: number; read: CopyRead }): StoredOutcome | undefined {
    // Who does not hear would not know that a copy is out of date.
    return this.#closed || !this.#subscription.gate.isOpen ? undefined : this.#near?.read(key, floor, read);
  }

  claim(request: ClaimRequest): Promise<Claim> {
    if (this.#closed || !this.#subscription.gate.isOpen) return this.hears().then(() => this.#claim(request));
    return this.#claim(request);
  }

  #claim(request: ClaimRequest): Promise<Claim> {
    return this.#near === undefined || request.cache === undefined ? this.#elect(request) : this.#electAndKeep(this.#near, request);
  }

  async #electAndKeep(near: NearValues, request: ClaimRequest): Promise<Claim> {
    const keep = near.reading(request.key);
    let found: StoredOutcome | undefined;
    try {
      const answer = await this.#elect(request);
      if (answer.role === 'cached') found = answer.stored;
      return answer;
    } finally {
      keep(found);
    }
  }

  #elect(request: ClaimRequest): Promise<Claim> {
    if (this.#early === undefined || request.min > 0) return this.#ask(request);
    return this.#early.during(request.id, () => this.#ask(request));
  }

  #ask(request: ClaimRequest): Promise<Claim> {
    if (!request.takeover) return this.#send(request, NO_TAKEOVER);
    return this.#session.isCluster ? this.#takeOver(request) : this.#send(request, THIS_SERVER_DECIDES);
  }

  /** On Cluster a script sees one node's subscribers, so the claimer looks itself, and says whom it found to be gone. */
  async #takeOver(request: ClaimRequest): Promise<Claim> {
    const first = await this.#send(request, NO_TAKEOVER);
    if (first.role !== 'follower' || !(await this.#isGone(first.flightId))) return first;
    return await this.#send(request, inboxOf(first.flightId));
  }

  #send({ key, id, min, floor, strict, cache }: ClaimRequest, takeover: string): Promise<Claim> {
    const said = { id, min, seen: floor, takeover, strict: strict === true ? 1 : 0, accepts: accepts(cache) };
    return this.#session.commands.run(this.#claimScript(cache).call(key, said), (reply) => this.#opened(readClaim(reply), key, min));
  }

  #claimScript(cache: CacheRead | undefined): LinkScripts['claim'] {
    return cache === undefined ? this.#scripts.claimUncached : this.#scripts.claim;
  }

  /** Opens the frame of what is stored. */
  #opened(answer: ClaimReply, key: KeyHash, min: number): Claim | Promise<Claim> {
    switch (answer.role) {
      case 'follower':
        return answer;
      case 'settled':
        return this.#openedOutcome(answer, key, min);
      case 'leader':
        return answer.entry === undefined ? answer : this.#openedLead(answer, answer.entry, key, min);
      case 'cached':
      case 'stale':
        return this.#openedCopy(answer, key, min);
    }
  }

  async #openedLead({ entry: _, ...lead }: LeadReply, entry: StoredEntry, key: KeyHash, min: number): Promise<Claim> {
    return { ...lead, stale: await this.#openedEntry(entry, key, min) };
  }

  async #openedCopy({ role, floor, entry }: EntryReply, key: KeyHash, min: number): Promise<Claim> {
    return { role, floor, stored: await this.#openedEntry(entry, key, min) };
  }

  /** A stored outcome that cannot be used counts as one that cannot travel: who waited for it loads for itself. */
  async #openedOutcome({ frame, fencingToken, floor }: StoredFrame, key: KeyHash, min: number): Promise<Claim> {
    const outcome = await this.#frames.openStored(frame, { key, token: fencingToken, min });
    if (outcome.kind !== 'rejected') return { role: 'settled', outcome, fencingToken, floor };
    this.#replica.receive(outcome);
    return { role: 'settled', outcome: UNTRAVELABLE, fencingToken, floor };
  }

  /** A stored outcome that cannot be used counts as one that cannot travel: core then asks for a load. */
  async #openedEntry({ frame, fencingToken, ageMs, loadMs, lifetimes }: StoredEntry, key: KeyHash, min: number): Promise<StoredOutcome> {
    const outcome = await this.#frames.openStored(frame, { key, token: fencingToken, min });
    if (outcome.kind !== 'rejected') return { outcome, fencingToken, ageMs, loadMs, ...(lifetimes && { lifetimes }) };
    this.#replica.receive(outcome);
    return { outcome: UNTRAVELABLE, fencingToken, ageMs, loadMs };
  }

  async #isGone(leader: FlightId): Promise<boolean> {
    const subscribers = await this.#session.subscribers([inboxOf(leader), this.inbox]);
    return subscribers.get(inboxOf(leader)) === 0 && subscribers.get(this.inbox) !== 0;
  }

  async renew({ key, id, token }: HolderRequest): Promise<Renewal> {
    this.#checkOpen();
    return await this.#session.commands.run(this.#scripts.renew.call(key, { id, token }), readRenewal);
  }

  settle(request: SettleRequest): Promise<Settlement> {
    if (this.#closed) return Promise.reject(closed());
    const { key, id, token, outcome, cache } = request;
    const flight: Flight = { key, id, token, livesMs: Math.max(this.#options.retainMs, storeMs(outcome, cache)) };
    const sealing = this.#frames.seal(outcome, flight);
    // Small ones are ready now, and settles of one tick share a write.
    return sealing instanceof Promise
      ? sealing.then((sealed) => this.#settle(request, flight, sealed))
      : this.#settle(request, flight, sealing);
  }

  #settle({ key, id, token, outcome, cache }: SettleRequest, flight: Flight, sealed: SealedFrame | undefined): Promise<Settlement> {
    const said = { key, id, token, store: sealed === undefined ? '' : store(outcome, cache) };
    const isInline = sealed === undefined || (sealed.opensAtOnce && sealed.bodyBytes <= this.#inlineBytesMax);
    if (this.#session.isCluster && sealed !== undefined) return this.#settleOnCluster(said, flight, sealed, isInline);
    const given = sealed?.bytes ?? this.#frames.sealBare(outcome.kind === 'unshareable' ? outcome.why : 'untravelable', flight);
    const script = said.store === '' ? this.#scripts.settleUncached : this.#scripts.settle;
    return this.#session.commands.run(script.call(key, { ...said, given, inlineMax: isInline ? given.length : 0 }), readSettlement);
  }

  /** There tracing sees the arguments of a script, so the frame goes by a SET in the same write. */
  #settleOnCluster(
    said: { readonly key: KeyHash; readonly id: FlightId; readonly token: number; readonly store: string },
    flight: Flight,
    sealed: SealedFrame,
    isInline: boolean,
  ): Promise<Settlement> {
    const { commands } = this.#session;
    const payload = this.#names.payload(said.key, said.id);
    // If it is refused, the script finds nothing there and says that the outcome cannot travel.
    commands.send(new PlainCommand('set', [payload, sealed.bytes, 'PX', this.#options.retainMs]), payload, ignore).catch(ignore);
    const given = this.#frames.sealBare('untravelable', flight);
    const inlineMax = isInline ? sealed.bytes.length : given.length;
    return commands.run(this.#scripts.settleOnCluster.call(said.key, { ...said, payload, given, inlineMax }), readSettlement);
  }

  async release({ key, id, failed = false }: ReleaseRequest): Promise<void> {
    this.#checkOpen();
    // Nobody waits for it, and a claim that timed out may still be run: its lease would keep everybody else waiting.
    await this.#session.commands.run(this.#scripts.release.call(key, { key, id, failed: failed ? 1 : 0 }), readReleased, false);
  }

  async invalidate({ key }: { readonly key: KeyHash }): Promise<number> {
    this.#checkOpen();
    // Also where it fails: what it should have removed is not used here any more.
    this.#near?.invalidated(key, Number.POSITIVE_INFINITY);
    const floor = await this.#session.commands.run(this.#scripts.invalidate.call(key, { key }), readFloor);
    this.#near?.invalidated(key, floor);
    return floor;
  }

  async peek({ key, floor }: PeekRequest): Promise<StoredOutcome | undefined> {
    this.#checkOpen();
    const entry = await this.#session.commands.run(this.#scripts.peek.call(key, { seen: floor }), readPeeked);
    return entry && (await this.#openedEntry(entry, key, 0));
  }

  /** Our connections go to masters: a copy that lags behind would not know the latest invalidation. */
  async floor({ key }: { readonly key: KeyHash }): Promise<number | undefined> {
    this.#checkOpen();
    return await this.#session.commands.send(new PlainCommand('hmget', [this.#names.state(key), 'fl']), key, readKnownFloor);
  }

  /** One command per server for all of them, however many flights they lead. */
  async absent(leaders: readonly FlightId[]): Promise<readonly boolean[]> {
    this.#checkOpen();
    if (leaders.length === 0) return [];
    const inboxes = [...new Set(leaders.map(inboxOf))];
    const subscribers = await this.#session.subscribers(inboxes);
    return leaders.map((id) => subscribers.get(inboxOf(id)) === 0);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unlisten();
    this.#session.subscriber.remove(this.#subscription);
    await this.#onClose();
  }

  #listener(channels: readonly string[]): Listener {
    return {
      channels,
      message: (channel, data) => {
        for (const message of parseMessage(channel, data, this.#frames)) this.#receive(message);
      },
      deaf: () => {
        this.#near?.clear();
        this.#replica.receive({ kind: 'deaf' });
      },
      listening: () => this.#replica.receive({ kind: 'listening' }),
    };
  }

  #receive(message: Message): void {
    if (message.kind === 'invalidated') this.#near?.invalidated(message.key, message.floor);
    if (message.kind === 'settled' && this.#early !== undefined) this.#early.pass(message);
    else this.#replica.receive(message);
  }

  #checkOpen(): void {
    if (this.#closed) throw closed();
  }
}

function closed(): CoordinatorError {
  return new CoordinatorError('unavailable', 'this link to Redis was closed');
}

/** How old stored outcomes may be, as claim.lua reads it. */
function accepts(cache: CacheRead | undefined): string {
  if (cache === undefined) return '';
  const { freshMs, freshErrorMs, staleMs, staleIfErrorMs, revalidateMs = 0 } = cache;
  return [freshMs, freshErrorMs, staleMs, staleIfErrorMs, revalidateMs].map(Math.ceil).join(' ');
}

/** What is stored and for how long, as settle.lua reads it. */
function store(outcome: Outcome, cache: CacheWrite | undefined): string {
  const lifeMs = storeMs(outcome, cache);
  if (cache === undefined || lifeMs === 0) return '';
  if (outcome.kind === 'error') return `error ${lifeMs} ${cache.loadMs} 0 `;
  const { ageMs = 0, lifetimes: own } = cache;
  const lifetimes = own === undefined ? [] : [own.ttlMs, own.staleWhileRevalidateMs, own.staleIfErrorMs];
  return `value ${lifeMs} ${cache.loadMs} ${Math.ceil(ageMs)} ${lifetimes.map(Math.floor).join(' ')}`;
}

/** How long an outcome is stored; 0 for not at all. */
function storeMs(outcome: Outcome, cache: CacheWrite | undefined): number {
  if (cache === undefined || outcome.kind === 'unshareable') return 0;
  return Math.ceil(outcome.kind === 'value' ? cache.valueMs : cache.errorMs);
}

/** Every node of a cluster carries every message: an outcome only travels inline where the notice would be as long. */
const CLUSTER_INLINE_BYTES_MAX = 256;
const NO_TAKEOVER = '0';
const THIS_SERVER_DECIDES = '1';
const UNTRAVELABLE = Object.freeze({ kind: 'unshareable', why: 'untravelable' } as const);
