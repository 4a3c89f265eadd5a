import type { Collapser } from '@oneflight/core';

import { seatQueries, type SeatQuery } from './seat-map.js';

/** What goes on in one replica, for the demo's page. The keys of the demo are no secret. */
export interface Activity {
  /** Blocks whose seat query runs here now, and how many of it at once. */
  readonly loading: readonly (SeatQuery & { readonly queries: number })[];
  /** Callers that wait here now for a flight, whoever leads it. */
  readonly waiting: number;
  /** Flights that this replica has led, and those that it has followed, since it started. */
  readonly led: number;
  readonly followed: number;
}

export function isActivity(value: unknown): value is Activity {
  return typeof value === 'object' && value !== null && 'loading' in value && Array.isArray(value.loading) && 'waiting' in value;
}

const EVERY_MS = 100;

/** Tells what goes on, whenever that has changed, for as long as the process lives. */
export function followActivity(collapser: Collapser, tell: (activity: Activity) => void): void {
  const loading = followQueries();
  const flights = countFlights(collapser);
  let told = '';
  const look = () => {
    const activity = { loading: loading(), waiting: collapser.stats().waiters, ...flights };
    const now = JSON.stringify(activity);
    if (now !== told) tell(activity);
    told = now;
  };
  setInterval(look, EVERY_MS).unref();
}

function followQueries(): () => Activity['loading'] {
  const running = new Map<string, SeatQuery & { queries: number }>();
  const add = (query: SeatQuery, change: number) => {
    const name = `${query.matchId}/${query.blockId}`;
    const queries = (running.get(name)?.queries ?? 0) + change;
    if (queries > 0) running.set(name, { matchId: query.matchId, blockId: query.blockId, queries });
    else running.delete(name);
  };
  const ignore = () => {};
  seatQueries.subscribe({
    start: (query) => add(query, 1),
    asyncEnd: (query) => add(query, -1),
    end: ignore,
    asyncStart: ignore,
    error: ignore,
  });
  return () => [...running.values()].sort((a, b) => a.blockId - b.blockId);
}

function countFlights(collapser: Collapser): { led: number; followed: number } {
  const counts = { led: 0, followed: 0 };
  collapser.listen((event) => {
    if (event.type !== 'election') return;
    if (event.result === 'won' || event.result === 'takeover') counts.led += 1;
    if (event.result === 'lost') counts.followed += 1;
  });
  return counts;
}
