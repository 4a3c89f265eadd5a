import { randomUUID } from 'node:crypto';

import type { Pool, PoolClient } from 'pg';

export type HoldResult =
  | { readonly result: 'held'; readonly holdId: string; readonly heldUntil: Date }
  | { readonly result: 'taken' }
  | { readonly result: 'unknown' };

export interface SeatAddress {
  readonly matchId: number;
  readonly blockId: number;
  readonly seatId: number;
}

/** Holds a seat for two minutes, unless somebody else holds or bought it. When it returns, the hold is committed. */
export async function holdSeat(pool: Pool, seat: SeatAddress): Promise<HoldResult> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await holdInTransaction(client, seat);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {}); // a broken connection has rolled back by itself
    throw error;
  } finally {
    client.release();
  }
}

async function holdInTransaction(client: PoolClient, seat: SeatAddress): Promise<HoldResult> {
  const found = await client.query<{ sold: boolean }>(
    `SELECT seats.sold FROM ticket_shop.seats JOIN ticket_shop.blocks ON blocks.id = seats.block_id
     WHERE blocks.match_id = $1 AND blocks.id = $2 AND seats.id = $3 FOR UPDATE OF seats`,
    [seat.matchId, seat.blockId, seat.seatId],
  );
  const row = found.rows[0];
  if (row === undefined) return { result: 'unknown' };
  if (row.sold) return { result: 'taken' };
  const held = await client.query<{ hold_id: string; held_until: Date }>(
    `INSERT INTO ticket_shop.holds VALUES ($1, $2, now() + interval '2 minutes')
     ON CONFLICT (seat_id) DO UPDATE SET hold_id = excluded.hold_id, held_until = excluded.held_until
       WHERE holds.held_until <= now()
     RETURNING hold_id, held_until`,
    [seat.seatId, randomUUID()],
  );
  const hold = held.rows[0];
  return hold === undefined ? { result: 'taken' } : { result: 'held', holdId: hold.hold_id, heldUntil: hold.held_until };
}
