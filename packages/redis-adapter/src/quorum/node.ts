import type { ClaimRequest, FlightId, KeyHash } from '@oneflight/core';
import { ignore } from '../connection.js';
import type { RedisLink } from '../link.js';
import { FLOOR_MS, waitersMs } from '../link-scripts.js';
import type { ResolvedOptions } from '../options.js';
import { PlainCommand } from '../outgoing.js';
import { prepareScript } from '../prepared-script.js';
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
  readonly #names: KeyNames;
  readonly #scripts: ReturnType<typeof quorumScripts>;

  constructor(link: RedisLink, session: Session, options: ResolvedOptions, names: KeyNames) {
    this.link = link;
    this.#session = session;
    this.#names = names;
    this.#scripts = quorumScripts(names, options);
  }

  async propose({ request: { key, id, min, strict }, seen, token, raise, gone }: Proposal): Promise<Vote> {
    await this.link.hears();
    const said = { id, min, seen, gone, token, raise: raise ? 1 : 0, strict: strict === true ? 1 : 0 };
    return await this.#session.commands.run(this.#scripts.propose.call(key, said), readVote);
  }

  /** In full: sent a second time, it would come after the next proposal, and give away a vote that this one won. */
  async cede({ key, id }: ClaimRequest, heir: FlightId, heirToken: number): Promise<void> {
    await this.#session.commands.run(this.#scripts.cede.call(key, { key, id, heir, heirToken }).inFull(), ignore);
  }

  async release({ key, id }: ClaimRequest): Promise<void> {
    await this.link.release({ key, id });
  }

  async rejoin(key: KeyHash, id: FlightId, token: number): Promise<void> {
    await this.#session.commands.run(this.#scripts.rejoin.call(key, { id, token }), ignore);
  }

  fence(key: KeyHash, broadcast: string, token: number): Promise<ReturnType<typeof readFence>> {
    return this.#session.commands.run(this.#scripts.fence.call(key, { key, broadcast, token }), readFence);
  }

  /** A node that never took an invalidation of the key knows at least which tokens came before its vote. */
  floor(key: KeyHash): Promise<number | undefined> {
    return this.#session.commands.send(new PlainCommand('hmget', [this.#names.state(key), 'fl', 'pn']), key, readKnownFloor);
  }

  async subscribers(inboxes: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return await this.#session.subscribers(inboxes);
  }
}

function quorumScripts({ lease, state, waiters, outcome }: KeyNames, options: ResolvedOptions) {
  const { leaseMs } = options;
  const [stateMs, floorMs, waiterMs] = [2 * leaseMs, FLOOR_MS, waitersMs(options)];
  return {
    propose: prepareScript(propose, { lease, state, waiters, outcome, leaseMs, stateMs, floorMs, waitersMs: waiterMs }),
    cede: prepareScript(cede, { lease, state, waiters, waitersMs: waiterMs }),
    rejoin: prepareScript(rejoin, { lease, state, leaseMs, stateMs }),
    fence: prepareScript(fence, { lease, state, floorMs }),
  };
}
