import { createHash } from 'node:crypto';
import Redlock, { type RedlockCallback, type RedlockServer } from 'redlock';
import type { Vote } from './votes.js';

/** Asks one node for its vote. */
export type Ask = () => Promise<Vote>;

/**
 * One round of an election, held by redlock: it sends the proposal to every node, counts the votes, and says until when a
 * majority of them is valid. The proposal itself, and what a vote says beyond yes or no, are ours: redlock gets clients
 * that run our script and tell it 1 or 0. Nobody waits for a slow node once the others decide.
 */
export class Election {
  readonly #redlock: Redlock;
  readonly #majority: number;
  readonly #polls = new Map<string, Poll>();
  #number = 0;

  constructor(nodes: number) {
    this.#majority = Math.floor(nodes / 2) + 1;
    const servers = Array.from({ length: nodes }, (_, node) => this.#server(node));
    this.#redlock = new Redlock(servers, { retryCount: 0, lockScript: () => VOTE, unlockScript: () => UNDO, extendScript: () => UNDO });
  }

  /**
   * Resolves with one vote per node, and whether a majority said yes while its leases were sure to run. `isClear` says
   * that no further vote would change anything.
   */
  async hold(asks: readonly Ask[], leaseMs: number, isClear: (votes: readonly Vote[]) => boolean): Promise<Count> {
    const name = `poll ${(this.#number += 1)}`;
    const poll = new Poll(asks, this.#majority, isClear);
    this.#polls.set(name, poll);
    try {
      const won = await this.#redlock.acquire([name], leaseMs).then(
        () => true,
        () => false,
      );
      return { won, votes: poll.votes };
    } finally {
      this.#polls.delete(name);
    }
  }

  #server(node: number): RedlockServer {
    const run = (args: readonly unknown[], callback: RedlockCallback): void => this.#polls.get(String(args[1]))?.ask(node, callback);
    // Redlock takes back the votes of an election that was lost. Ours are handed on to whoever should win it.
    const undo = (callback: RedlockCallback): void => callback(null, 1);
    return {
      evalsha: (hash, args, callback) => (hash === VOTE_HASH ? run(args, callback) : undo(callback)),
      eval: (_, callback) => undo(callback),
    };
  }
}

/** What came of one round. */
export interface Count {
  /** A majority said yes, and its leases run for a while yet. */
  readonly won: boolean;
  /** One per node. */
  readonly votes: readonly Vote[];
}

/** The votes of one round. */
class Poll {
  readonly votes: Vote[];
  readonly #asks: readonly Ask[];
  readonly #majority: number;
  readonly #isClear: (votes: readonly Vote[]) => boolean;
  readonly #waiting = new Map<number, RedlockCallback>();
  #grace: NodeJS.Timeout | undefined;
  #isCounted = false;

  constructor(asks: readonly Ask[], majority: number, isClear: (votes: readonly Vote[]) => boolean) {
    this.#asks = asks;
    this.#majority = majority;
    this.#isClear = isClear;
    this.votes = asks.map(() => ({ kind: 'absent', error: undefined }));
  }

  ask(node: number, callback: RedlockCallback): void {
    this.#waiting.set(node, callback);
    const ask = this.#asks[node];
    if (ask === undefined) return;
    ask().then(
      (vote) => this.#cast(node, vote),
      (error: unknown) => this.#cast(node, { kind: 'absent', error }),
    );
  }

  #cast(node: number, vote: Vote): void {
    if (this.#isCounted) return;
    this.votes[node] = vote;
    const callback = this.#waiting.get(node);
    this.#waiting.delete(node);
    const answered = this.votes.filter(({ kind }) => kind !== 'absent').length;
    const isOver = this.#waiting.size === 0 || this.#isClear(this.votes);
    if (isOver) this.#count();
    else if (answered >= this.#majority) this.#grace ??= setTimeout(() => this.#count(), GRACE_MS);
    callback?.(null, vote.kind === 'lead' ? 1 : 0);
  }

  /** Redlock waits for every node; those that are still silent count as absent. */
  #count(): void {
    clearTimeout(this.#grace);
    this.#isCounted = true;
    const silent = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const callback of silent) callback(new Error('did not vote in time'));
  }
}

/** How long the rest is waited for once a majority has voted, but not for one. */
const GRACE_MS = 10;
const VOTE = 'propose';
const UNDO = 'nothing';
/** Redlock names a script by the SHA-1 of its text. */
const VOTE_HASH = createHash('sha1').update(VOTE).digest('hex');
