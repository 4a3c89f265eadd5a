import type {
  CircuitState,
  Claim,
  ClaimRequest,
  Codec,
  CoordinatorLink,
  CoordinatorTimings,
  FlightId,
  HolderRequest,
  KeyHash,
  Message,
  ReleaseRequest,
  Renewal,
  Replica,
  Settlement,
  SettleRequest,
} from '@oneflight/core';
import { CoordinatorError } from '@oneflight/core';
import { defaultCodec } from '../codec.js';
import { ignore } from '../connection.js';
import { Frames } from '../frames.js';
import { RedisLink } from '../link.js';
import type { ResolvedOptions } from '../options.js';
import { inboxOf, type KeyNames } from '../scripts/keys.js';
import type { Session } from '../session.js';
import { campaign, type Mandate } from './campaign.js';
import { Election } from './election.js';
import { type Answers, gather } from './gather.js';
import { QuorumInbox } from './inbox.js';
import { QuorumNode } from './node.js';
import { Tokens } from './tokens.js';

/** One collapser's link to several independent servers. Each operation is done by a majority of them, or has failed. */
export class QuorumLink implements CoordinatorLink {
  readonly inbox: string;
  readonly timings: CoordinatorTimings;
  readonly payloadBytesMax: number;
  readonly codec: Codec = defaultCodec;
  readonly opening: Promise<void>;
  readonly #nodes: readonly QuorumNode[];
  readonly #size: number;
  readonly #majority: number;
  readonly #broadcast: string;
  readonly #frames: Frames;
  readonly #replica: Replica;
  readonly #inbox: QuorumInbox;
  readonly #election: Election;
  readonly #tokens = new Tokens();
  readonly #claims = new Map<FlightId, Promise<Claim>>();
  readonly #deaf = new Set<number>();
  readonly #circuits = new Map<number, CircuitState>();
  readonly #onClose: () => Promise<void>;
  #closed = false;

  constructor(sessions: readonly Session[], options: ResolvedOptions, names: KeyNames, replica: Replica, onClose: () => Promise<void>) {
    const { leaseMs, recheckMs, commandTimeoutMs, retainMs } = options;
    this.inbox = names.newInbox();
    this.timings = Object.freeze({ leaseMs, recheckMs, commandTimeoutMs, retainMs });
    this.payloadBytesMax = options.payloadBytesMax;
    this.#replica = replica;
    this.#frames = new Frames(options);
    this.#broadcast = names.broadcast(replica.namespace);
    this.#size = sessions.length;
    this.#majority = Math.floor(sessions.length / 2) + 1;
    this.#inbox = new QuorumInbox(replica, (key, id) => this.#giveBack(key, id));
    this.#election = new Election(sessions.length);
    this.#onClose = onClose;
    const shared: KeyNames = { ...names, newInbox: () => this.inbox };
    this.#nodes = sessions.map((session, at) => {
      const hears: Replica = { namespace: replica.namespace, receive: (message) => this.#receive(at, message) };
      return new QuorumNode(new RedisLink(session, options, shared, hears, async () => {}), session, options, names);
    });
    this.opening = Promise.all(this.#nodes.map(({ link }) => link.opening)).then(() => {});
  }

  /** A claim that is sent again while the first is under way is the same claim: their votes would be taken for rivals. */
  claim(request: ClaimRequest): Promise<Claim> {
    const underWay = this.#claims.get(request.id);
    if (underWay !== undefined) return underWay;
    const claim = this.#inbox.during(request.id, () => this.#claim(request)).finally(() => this.#claims.delete(request.id));
    this.#claims.set(request.id, claim);
    return claim;
  }

  async renew({ key, id, token }: HolderRequest): Promise<Renewal> {
    const renewals = await this.#ask((node) => node.link.renew({ key, id, token }));
    const floor = highestFloor(renewals);
    const held = renewals.filter((renewal) => renewal?.state === 'held');
    if (held.length < this.#majority) return { state: 'detached', floor };
    // A node that lost its memory, or never voted for this leader, may do so now.
    renewals.forEach((renewal, at) => {
      if (renewal?.state === 'detached') this.#nodes[at]?.rejoin(key, id, token).catch(ignore);
    });
    const waiters = Math.max(...held.map((renewal) => (renewal?.state === 'held' ? renewal.waiters : 0)));
    return { state: 'held', floor: floor ?? token - 1, waiters };
  }

  /** Every node tells those who wait there, and keeps the outcome for those who come late. */
  async settle(request: SettleRequest): Promise<Settlement> {
    const { cache: _, ...withoutStore } = request;
    const settlements = await this.#ask((node) => node.link.settle(withoutStore));
    this.#inbox.forget(request.id);
    const settled = settlements.filter((settlement) => settlement?.state === 'settled');
    return { state: settled.length >= this.#majority ? 'settled' : 'detached', floor: highestFloor(settlements) };
  }

  async release(request: ReleaseRequest): Promise<void> {
    this.#inbox.forget(request.id);
    await this.#ask((node) => node.link.release(request));
  }

  /** Done when a majority has taken one and the same floor, which then is above every token of an earlier majority. */
  async invalidate({ key }: { readonly key: KeyHash }): Promise<number> {
    let token = this.#tokens.next(0);
    for (let round = 1; round <= FENCE_ROUNDS_MAX; round += 1) {
      const proposed = token;
      const fences = await this.#ask((node) => node.fence(key, this.#broadcast, proposed));
      if (fences.filter((fence) => fence?.done === true).length >= this.#majority) return proposed;
      token = this.#tokens.next(Math.max(...fences.map((fence) => fence?.highest ?? 0)));
    }
    throw new CoordinatorError('timeout', 'no majority of the Redis nodes took the invalidation in time');
  }

  /** Of a majority the highest: an invalidation that a majority took is known to one of them at least. */
  async floor({ key }: { readonly key: KeyHash }): Promise<number | undefined> {
    const floors = await this.#ask(async (node) => ({ floor: await node.floor(key) }));
    return highestFloor(floors);
  }

  /** Gone is who listens nowhere, as far as a majority can see. */
  async absent(leaders: readonly FlightId[]): Promise<readonly boolean[]> {
    this.#checkOpen();
    if (leaders.length === 0) return [];
    const inboxes = [...new Set(leaders.map(inboxOf))];
    const counts = await this.#ask((node) => node.subscribers(inboxes));
    return leaders.map((id) => counts.every((count) => (count?.get(inboxOf(id)) ?? 0) === 0));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all(this.#nodes.map(({ link }) => link.close()));
    await this.#onClose();
  }

  async #claim(request: ClaimRequest): Promise<Claim> {
    this.#checkOpen();
    const first = await this.#campaign(request, NOBODY);
    if (!request.takeover || first.role !== 'follower' || !(await this.#isGone(first.flightId))) return first;
    return await this.#campaign(request, inboxOf(first.flightId));
  }

  async #campaign(request: ClaimRequest, gone: string): Promise<Claim> {
    const { leaseMs, commandTimeoutMs } = this.timings;
    const rules = { leaseMs, timeoutMs: commandTimeoutMs };
    return await this.#claimOf(request, await campaign(request, gone, this.#nodes, this.#election, this.#tokens, rules));
  }

  async #claimOf({ key, id, min, strict }: ClaimRequest, mandate: Mandate): Promise<Claim> {
    const { floor, votes } = mandate;
    switch (mandate.kind) {
      case 'elected': {
        const known = votes.filter((vote) => vote.kind === 'lead' && vote.floor !== undefined).length;
        const attempt = Math.max(1, ...votes.map((vote) => (vote.kind === 'lead' ? vote.attempt : 1)));
        // A majority that knows nothing of the key may have forgotten an invalidation.
        const isForgotten = known === 0 && floor < mandate.token;
        return { role: 'leader', fencingToken: mandate.token, attempt, floor: isForgotten ? mandate.token - 1 : floor };
      }
      case 'led': {
        const offered = strict === true ? mandate.min + 1 : mandate.min;
        return {
          role: 'follower',
          flightId: mandate.leader,
          min: Math.min(offered, min > 0 ? min : offered, this.#inbox.minOf(id)),
          leaseLeftMs: mandate.leaseLeftMs,
          floor,
        };
      }
      case 'settled': {
        const { frame, token } = mandate.vote;
        const outcome = await this.#frames.openStored(frame, { key, token, min });
        if (outcome.kind !== 'rejected') return { role: 'settled', outcome, fencingToken: token, floor };
        this.#replica.receive(outcome);
        return { role: 'settled', outcome: { kind: 'unshareable', why: 'untravelable' }, fencingToken: token, floor };
      }
    }
  }

  async #isGone(leader: FlightId): Promise<boolean> {
    const [leaderIsGone, weAreGone] = await this.absent([leader, this.inbox]);
    return leaderIsGone === true && weAreGone === false;
  }

  /** Deaf is who hears less than a majority: then an invalidation may be missed. An outcome is found by the recheck. */
  #receive(node: number, message: Message): void {
    const wasDeaf = this.#isDeaf;
    const wasOpen = this.#circuit;
    switch (message.kind) {
      case 'deaf':
        this.#deaf.add(node);
        if (!wasDeaf && this.#isDeaf) this.#replica.receive(message);
        return;
      case 'listening':
        this.#deaf.delete(node);
        if (wasDeaf && !this.#isDeaf) this.#replica.receive(message);
        return;
      case 'circuit':
        this.#circuits.set(node, message.state);
        if (this.#circuit !== wasOpen) this.#replica.receive({ kind: 'circuit', state: this.#circuit });
        return;
      default:
        this.#inbox.receive(node, message);
    }
  }

  get #isDeaf(): boolean {
    return this.#size - this.#deaf.size < this.#majority;
  }

  get #circuit(): CircuitState {
    const broken = [...this.#circuits.values()].filter((state) => state !== 'closed');
    if (this.#size - broken.length >= this.#majority) return 'closed';
    return broken.includes('half_open') ? 'half_open' : 'open';
  }

  #giveBack(key: KeyHash, id: FlightId): void {
    if (!this.#closed) for (const { link } of this.#nodes) link.release({ key, id }).catch(ignore);
  }

  async #ask<T>(operation: (node: QuorumNode) => Promise<T>): Promise<Answers<T>> {
    this.#checkOpen();
    return await gather(this.#nodes.map(operation));
  }

  #checkOpen(): void {
    if (this.#closed) throw new CoordinatorError('unavailable', 'this link to Redis was closed');
  }
}

const NOBODY = '0';
const FENCE_ROUNDS_MAX = 5;

function highestFloor(answers: Answers<{ readonly floor: number | undefined }>): number | undefined {
  const floors = answers.map((answer) => answer?.floor).filter((floor) => floor !== undefined);
  return floors.length === 0 ? undefined : Math.max(...floors);
}
