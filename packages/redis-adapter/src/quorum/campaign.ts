import { type ClaimRequest, CoordinatorError, type FlightId } from '@oneflight/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { ignore } from '../connection.js';
import type { Election } from './election.js';
import type { Tokens } from './tokens.js';
import { floorOf, judge, type Verdict } from './verdict.js';
import type { Vote } from './votes.js';

/** What is sent to each node in one round. */
export interface Proposal {
  readonly request: ClaimRequest;
  readonly seen: number;
  readonly token: number;
  readonly raise: boolean;
  readonly gone: string;
}

/** One node, as a claimer sees it. */
export interface Voter {
  propose(proposal: Proposal): Promise<Vote>;
  /** Hands the claimer's vote here to another. */
  cede(request: ClaimRequest, heir: FlightId, heirToken: number): Promise<void>;
  /** Gives up whatever the claimer has here. */
  release(request: ClaimRequest): Promise<void>;
}

export interface CampaignRules {
  readonly leaseMs: number;
  readonly timeoutMs: number;
}

/** How a campaign ended. */
export type Mandate = Extract<Verdict, { kind: 'elected' | 'led' | 'settled' }> & {
  readonly floor: number;
  readonly votes: readonly Vote[];
};

/**
 * One claim: rounds of votes until a majority of nodes agrees on somebody. Without contention and with clocks in step that
 * is one round. Never longer than a claim may take.
 *
 * @throws CoordinatorError `unavailable` or `timeout`; what it held is given up in the background then.
 */
export async function campaign(
  request: ClaimRequest,
  gone: string,
  voters: readonly Voter[],
  election: Election,
  tokens: Tokens,
  { leaseMs, timeoutMs }: CampaignRules,
): Promise<Mandate> {
  const { id, min } = request;
  const majority = Math.floor(voters.length / 2) + 1;
  const endsAt = performance.now() + timeoutMs;
  let proposal: Proposal = { request, seen: request.floor, token: tokens.next(Math.max(min, request.floor)), raise: false, gone };
  for (let round = 1; ; round += 1) {
    const { seen } = proposal;
    const isClear = (votes: readonly Vote[]): boolean => ['elected', 'settled'].includes(judge(votes, majority, id, seen).kind);
    const asks = voters.map((voter) => () => voter.propose(proposal));
    const { won, votes } = await election.hold(asks, leaseMs, isClear);
    for (const vote of votes) if ('token' in vote) tokens.saw(vote.token);
    const verdict = judge(votes, majority, id, seen);
    const floor = floorOf(votes, seen);
    const isLate = performance.now() > endsAt || round === ROUNDS_MAX;
    if (isMandate(verdict) && (won || verdict.kind !== 'elected')) {
      stepAside(verdict, request, voters, votes);
      return { ...verdict, floor, votes };
    }
    if (verdict.kind === 'split' && verdict.first !== id) cedeVotes(request, voters, votes, { id: verdict.first, token: 0 });
    if (isLate || verdict.kind === 'elected' || verdict.kind === 'unknown') {
      giveUp(request, voters);
      throw failureOf(verdict);
    }
    proposal = { ...proposal, seen: floor, ...(verdict.kind === 'outbid' && { token: tokens.next(verdict.token), raise: true }) };
    if (verdict.kind === 'split') await sleep(pauseMs(verdict.first === id ? 0 : round));
  }
}

function isMandate(verdict: Verdict): verdict is Extract<Verdict, { kind: 'elected' | 'led' | 'settled' }> {
  return ['elected', 'led', 'settled'].includes(verdict.kind);
}

/** Gives back what single nodes granted to a claimer that need not, or may not, lead. */
function stepAside(verdict: Verdict, request: ClaimRequest, voters: readonly Voter[], votes: readonly Vote[]): void {
  if (verdict.kind === 'settled') giveUp(request, voters);
  if (verdict.kind === 'led') cedeVotes(request, voters, votes, { id: verdict.leader, token: verdict.min });
}

function failureOf(verdict: Verdict): CoordinatorError {
  return verdict.kind === 'unknown' && verdict.error instanceof CoordinatorError ? verdict.error : noMajority();
}

/** So many rounds end a split of three claimers with certainty, and one of thirty in practice. */
const ROUNDS_MAX = 20;

/** Short for whoever goes first, so that it asks again before the others; longer each time for those. */
function pauseMs(round: number): number {
  return 1 + Math.random() * 2 + Math.min(round, 5) * (2 + Math.random() * 3);
}

/** Also to nodes that have not voted yet: they get it after the proposal. */
function cedeVotes(
  request: ClaimRequest,
  voters: readonly Voter[],
  votes: readonly Vote[],
  heir: { readonly id: FlightId; readonly token: number },
): void {
  votes.forEach((vote, at) => {
    if (vote.kind === 'lead' || vote.kind === 'absent') voters[at]?.cede(request, heir.id, heir.token).catch(ignore);
  });
}

function giveUp(request: ClaimRequest, voters: readonly Voter[]): void {
  for (const voter of voters) voter.release(request).catch(ignore);
}

function noMajority(): CoordinatorError {
  return new CoordinatorError('timeout', 'no majority of the Redis nodes agreed on a leader in time');
}
