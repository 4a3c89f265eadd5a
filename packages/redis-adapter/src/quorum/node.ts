import type { ClaimRequest, FlightId, KeyHash } from '@oneflight/core';
import { FLOOR_MS, type RedisLink, waitersMs } from '../link.js';
import type { ResolvedOptions } from '../options.js';
import { cede, fence, propose, rejoin } from '../scripts/generated.js';
import { readKnownFloor } from '../replies.js';
import type { KeyNames } from '../scripts/keys.js';
import type { Session } from '../session.js';
import type { Proposal, Voter } from './campaign.js';
import { readFence, readVote, type Vote } from './votes.js';

/** One of the servers of a quorum: what it does alone is a link's, what takes a majority is here. */
export class QuorumNode implements Voter {
  readonly link: RedisLink;
  readonly #session: Session;
  readonly #options: ResolvedOptions;
  readonly #names: KeyNames;

  constructor(link: RedisLink, session: Session, options: ResolvedOptions, names: KeyNames) {
    this.link = link;
    this.#session = session;
    this.#options = options;
    this.#names = names;
  }

  async propose({ request: { key, id, min, strict }, seen, token, raise, gone }: Proposal): Promise<Vote> {
    await this.link.hears();
    const { leaseMs } = this.#options;
    const { lease, state, waiters } = this.#keys(key);
    const reply = await this.#session.commands.run(
      propose,
      { lease, state, waiters, outcome: this.#names.outcome(key) },
      {
        id,
        min,
        seen,
        gone,
        token,
        raise: raise ? 1 : 0,
        leaseMs,
        stateMs: 2 * leaseMs,
        floorMs: FLOOR_MS,
        waitersMs: waitersMs(this.#options),
        strict: strict === true ? 1 : 0,
      },
    );
    return readVote(reply);
  }

  /** In full: sent a second time, it would come after the next proposal, and give away a vote that this one won. */
  async cede({ key, id }: ClaimRequest, heir: FlightId, heirToken: number): Promise<void> {
    const args = { key, id, heir, heirToken, waitersMs: waitersMs(this.#options) };
    await this.#session.commands.run(cede, this.#keys(key), args, { inFull: true });
  }

  async release({ key, id }: ClaimRequest): Promise<void> {
    await this.link.release({ key, id });
  }

  async rejoin(key: KeyHash, id: FlightId, token: number): Promise<void> {
    const { leaseMs } = this.#options;
    const { lease, state } = this.#keys(key);
    await this.#session.commands.run(rejoin, { lease, state }, { id, token, leaseMs, stateMs: 2 * leaseMs });
  }

  async fence(key: KeyHash, broadcast: string, token: number): Promise<ReturnType<typeof readFence>> {
    const { lease, state } = this.#keys(key);
    return readFence(await this.#session.commands.run(fence, { lease, state }, { key, broadcast, token, floorMs: FLOOR_MS }));
  }

  /** A node that never took an invalidation of the key knows at least which tokens came before its vote. */
  async floor(key: KeyHash): Promise<number | undefined> {
    const { state } = this.#keys(key);
    return readKnownFloor(await this.#session.commands.call('hmget', [state, 'fl', 'pn'], state));
  }

  async subscribers(inboxes: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return await this.#session.subscribers(inboxes);
  }

  #keys(key: KeyHash) {
    return { lease: this.#names.lease(key), state: this.#names.state(key), waiters: this.#names.waiters(key) };
  }
}
