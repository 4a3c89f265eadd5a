import type { FlightId } from '@oneflight/core';
import type { Vote } from './votes.js';

/** What the votes of one round come to. */
export type Verdict =
  /** A majority agreed on this claimer and this token, which is above every token that an earlier majority agreed on. */
  | { readonly kind: 'elected'; readonly token: number }
  /** A majority names another; `min` is the lowest token that may answer this claimer. */
  | { readonly kind: 'led'; readonly leader: FlightId; readonly min: number; readonly leaseLeftMs: number }
  | { readonly kind: 'settled'; readonly vote: Extract<Vote, { kind: 'settled' }> }
  /** A majority would take this claimer, with a token of at least this. */
  | { readonly kind: 'outbid'; readonly token: number }
  /** Some nodes missed an invalidation that others know: ask again with this floor. */
  | { readonly kind: 'unfenced'; readonly floor: number }
  /** Several claimers hold a minority each; this one goes first. */
  | { readonly kind: 'split'; readonly first: FlightId }
  /** Too few nodes answered. */
  | { readonly kind: 'unknown'; readonly error: unknown };

/**
 * Counts. The rule behind it: an outcome with token `t` may answer a waiter if and only if `t >= min`, although `t` and
 * `min` come from different majorities. docs/adr/0010-quorum.md has the argument.
 */
export function judge(votes: readonly Vote[], majority: number, me: FlightId, seen: number): Verdict {
  const settled = votes.find((vote) => vote.kind === 'settled');
  if (settled !== undefined) return { kind: 'settled', vote: settled };
  const answered = votes.filter((vote) => vote.kind !== 'absent');
  if (answered.length < majority) return { kind: 'unknown', error: votes.find((vote) => vote.kind === 'absent')?.error };
  const floor = floorOf(votes, seen);
  const mine = votes.filter((vote) => vote.kind === 'lead');
  const free = votes.filter((vote) => vote.kind === 'behind');
  if (mine.length + free.length >= majority) return bid(mine, free, majority, floor);
  const leaders = groupByLeader(votes);
  for (const [leader, followed] of leaders) {
    if (followed.length < majority) continue;
    if (followed.filter(({ token }) => token > floor).length < majority) return { kind: 'unfenced', floor };
    // The leader's own token is at least the highest that it has anywhere, so its outcome will answer us; every flight
    // that ended before is below it, because two majorities share a node.
    return {
      kind: 'led',
      leader,
      min: Math.max(...followed.map(({ token }) => token)),
      leaseLeftMs: Math.max(...followed.map(({ leaseLeftMs }) => leaseLeftMs)),
    };
  }
  return { kind: 'split', first: firstOf(leaders, mine, me) };
}

/** The highest floor that any of these nodes knows. */
export function floorOf(votes: readonly Vote[], seen: number): number {
  return Math.max(seen, ...votes.map((vote) => (vote.kind === 'absent' ? 0 : (vote.floor ?? 0))));
}

type Lead = Extract<Vote, { kind: 'lead' }>;
type Follow = Extract<Vote, { kind: 'follow' }>;

function bid(mine: readonly Lead[], free: readonly Extract<Vote, { kind: 'behind' }>[], majority: number, floor: number): Verdict {
  const token = Math.max(...mine.map((vote) => vote.token));
  const agreed = mine.filter((vote) => vote.token === token && vote.highest === token);
  if (agreed.length >= majority && token > floor) return { kind: 'elected', token };
  return { kind: 'outbid', token: Math.max(floor, ...mine.map(({ highest }) => highest), ...free.map(({ highest }) => highest)) + 1 };
}

function groupByLeader(votes: readonly Vote[]): Map<FlightId, Follow[]> {
  const groups = new Map<FlightId, Follow[]>();
  for (const vote of votes) {
    if (vote.kind !== 'follow') continue;
    const group = groups.get(vote.leader);
    if (group === undefined) groups.set(vote.leader, [vote]);
    else group.push(vote);
  }
  return groups;
}

/** Who asked first, as far as its lowest token tells: newcomers never overtake, so a split comes to an end. */
function firstOf(leaders: ReadonlyMap<FlightId, readonly Follow[]>, mine: readonly Lead[], me: FlightId): FlightId {
  const contenders = [...leaders].map(([id, votes]) => ({ id, token: Math.min(...votes.map(({ token }) => token)) }));
  if (mine.length > 0) contenders.push({ id: me, token: Math.min(...mine.map(({ token }) => token)) });
  contenders.sort((a, b) => a.token - b.token || (a.id < b.id ? -1 : 1));
  return contenders[0]?.id ?? me;
}
