import { tracingChannel } from 'node:diagnostics_channel';

import type { Pool } from 'pg';

/** What a customer sees of one block. */
export interface SeatMap {
  readonly matchId: number;
  readonly blockId: number;
  readonly free: number;
  readonly rows: readonly SeatRow[];
}

export interface SeatRow {
  readonly row: number;
  readonly free: number;
  readonly seats: readonly Seat[];
}

export interface Seat {
  readonly id: number;
  readonly number: number;
  readonly priceCents: number;
  readonly state: 'free' | 'held' | 'sold';
}

/** Names the seat query in PostgreSQL's own statistics, so that the demo counts this one and no other. */
export const SEAT_QUERY_MARK = 'seat_map_states';

/** Tells who listens when a seat query begins and ends; costs next to nothing while nobody does. */
export const seatQueries = tracingChannel<unknown, SeatQuery>('ticket-shop:seat-query');

export interface SeatQuery {
  readonly matchId: number;
  readonly blockId: number;
}

/**
 * The seat query. `busyMs` is spent inside PostgreSQL, on the query's connection: it stands for a database that is
 * busy with everything else on the opening minute.
 * @returns undefined when there is no such block in that match
 */
export async function loadSeatMap(pool: Pool, block: { matchId: number; blockId: number; busyMs: number }): Promise<SeatMap | undefined> {
  const { matchId, blockId, busyMs } = block;
  const query = () => pool.query<SeatRow>(SEAT_QUERY, [matchId, blockId, busyMs]);
  const { rows } = await seatQueries.tracePromise(query, { matchId, blockId });
  if (rows.length === 0) return undefined;
  return { matchId, blockId, free: rows.reduce((sum, row) => sum + row.free, 0), rows };
}

const SEAT_QUERY = `
  WITH busy AS MATERIALIZED (
    SELECT pg_sleep($3::float8 / 1000)
  ), ${SEAT_QUERY_MARK} AS (
    SELECT seats.row_number, seats.seat_number, seats.id, prices.cents,
           CASE WHEN seats.sold THEN 'sold' WHEN holds.seat_id IS NULL THEN 'free' ELSE 'held' END AS state
    FROM ticket_shop.blocks
    JOIN ticket_shop.seats ON seats.block_id = blocks.id
    JOIN ticket_shop.prices ON prices.category = blocks.price_category
    LEFT JOIN ticket_shop.holds ON holds.seat_id = seats.id AND holds.held_until > now()
    WHERE blocks.match_id = $1 AND blocks.id = $2
  )
  SELECT row_number AS "row",
         count(*) FILTER (WHERE state = 'free')::int AS free,
         json_agg(json_build_object('id', id, 'number', seat_number, 'priceCents', cents, 'state', state)
                  ORDER BY seat_number) AS seats
  FROM ${SEAT_QUERY_MARK}, busy
  GROUP BY row_number
  ORDER BY row_number`;
