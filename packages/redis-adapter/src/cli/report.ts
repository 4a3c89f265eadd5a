import type { KeyKind } from '../scripts/keys.js';
import type { Flight, ServerInfo, ServerLook } from './look.js';

/** What `top` prints for one look, in words or as JSON. */
export interface Report {
  readonly at: string;
  readonly prefix: string;
  /** False: some server has more keys than one look goes through. */
  readonly isComplete: boolean;
  readonly servers: readonly ServerInfo[];
  readonly flights: readonly ReportedFlight[];
  /** Processes that lead or follow something now. */
  readonly replicas: readonly { readonly replica: string; readonly leads: number; readonly follows: number }[];
  /** Since the look before; null for the first. At least these: of several flights of one key between two looks, one is seen. */
  readonly perSecond: { readonly started: number; readonly settled: number } | null;
  readonly keys: Readonly<Record<KeyKind, number>>;
}

export interface ReportedFlight extends Flight {
  /** Whether the leader's process still listens to its inbox; null when nobody leads. */
  readonly isLeaderThere: boolean | null;
}

export interface Looks {
  readonly looks: readonly ServerLook[];
  /** Inboxes that somebody listens to. */
  readonly present: ReadonlySet<string>;
}

/** Makes one report of what all servers said, with the rates since `before`. */
export function reportOf(prefix: string, { looks, present }: Looks, before: Looks | undefined): Report {
  const flights = looks
    .flatMap((look) => look.flights)
    .map((flight) => ({ ...flight, isLeaderThere: flight.leader === null ? null : present.has(flight.leader) }))
    .sort((a, b) => (b.ageMs ?? 0) - (a.ageMs ?? 0));
  return {
    at: new Date().toISOString(),
    prefix,
    isComplete: looks.every(({ isComplete }) => isComplete),
    servers: looks.map(({ info }) => info),
    flights,
    replicas: replicasOf(flights),
    perSecond: before === undefined ? null : ratesOf(looks, before.looks),
    keys: sumOf(looks.map(({ counts }) => counts)),
  };
}

function replicasOf(flights: readonly Flight[]): Report['replicas'] {
  const replicas = new Map<string, { replica: string; leads: number; follows: number }>();
  const replica = (inbox: string) => {
    const found = replicas.get(inbox) ?? { replica: inbox, leads: 0, follows: 0 };
    replicas.set(inbox, found);
    return found;
  };
  for (const { leader, followers } of flights) {
    if (leader !== null) replica(leader).leads += 1;
    for (const follower of followers) replica(follower).follows += 1;
  }
  return [...replicas.values()].sort((a, b) => b.leads - a.leads || b.follows - a.follows);
}

/** Tokens are made of the server's time, so that one above the time of the look before is of a flight that began since. */
function ratesOf(looks: readonly ServerLook[], before: readonly ServerLook[]): Report['perSecond'] {
  let started = 0;
  let settled = 0;
  let seconds = 0;
  for (const look of looks) {
    const earlier = before.find(({ info }) => info.address === look.info.address);
    if (earlier === undefined) continue;
    seconds = Math.max(seconds, (look.timeUs - earlier.timeUs) / 1_000_000);
    const begun = [...look.tokens].filter(([, token]) => token > earlier.timeUs);
    const running = new Map(look.flights.map(({ key, token }) => [key, token]));
    started += begun.length;
    settled += begun.filter(([key, token]) => running.get(key) !== token).length;
    settled += earlier.flights.filter(({ key, token }) => token !== null && running.get(key) !== token).length;
  }
  const rate = (count: number) => (seconds === 0 ? 0 : Math.round((10 * count) / seconds) / 10);
  return { started: rate(started), settled: rate(settled) };
}

function sumOf(counts: readonly Readonly<Record<KeyKind, number>>[]): Record<KeyKind, number> {
  const sum = (kind: KeyKind) => counts.reduce((total, each) => total + each[kind], 0);
  return {
    leases: sum('leases'),
    states: sum('states'),
    waiters: sum('waiters'),
    outcomes: sum('outcomes'),
    values: sum('values'),
    failures: sum('failures'),
    payloads: sum('payloads'),
    tags: sum('tags'),
  };
}
