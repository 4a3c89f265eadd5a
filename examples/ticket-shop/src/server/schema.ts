import type { Pool, PoolClient } from 'pg';

export const MATCHES = 4;
export const BLOCKS_PER_MATCH = 25;
const ROWS_PER_BLOCK = 8;
const SEATS_PER_ROW = 15;

/**
 * Creates and fills the shop's tables in a schema of their own, once, also when several replicas start together.
 * Everything is derived from the ids, so each database looks the same.
 */
export async function prepareDatabase(pool: Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query("SELECT pg_advisory_xact_lock(hashtext('ticket_shop'))");
    if (!(await isPrepared(client))) for (const statement of STATEMENTS) await client.query(statement);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {}); // a broken connection has rolled back by itself
    throw error;
  } finally {
    client.release();
  }
}

async function isPrepared(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ prepared: boolean }>("SELECT to_regclass('ticket_shop.holds') IS NOT NULL AS prepared");
  return rows[0]?.prepared === true;
}

const STATEMENTS = [
  'CREATE SCHEMA ticket_shop',
  'CREATE TABLE ticket_shop.matches (id int PRIMARY KEY, title text NOT NULL)',
  'CREATE TABLE ticket_shop.prices (category int PRIMARY KEY, cents int NOT NULL)',
  `CREATE TABLE ticket_shop.blocks (
     id int PRIMARY KEY,
     match_id int NOT NULL REFERENCES ticket_shop.matches,
     name text NOT NULL,
     price_category int NOT NULL REFERENCES ticket_shop.prices)`,
  `CREATE TABLE ticket_shop.seats (
     id int PRIMARY KEY,
     block_id int NOT NULL REFERENCES ticket_shop.blocks,
     row_number int NOT NULL,
     seat_number int NOT NULL,
     sold boolean NOT NULL)`,
  'CREATE INDEX ON ticket_shop.seats (block_id)',
  `CREATE TABLE ticket_shop.holds (
     seat_id int PRIMARY KEY REFERENCES ticket_shop.seats,
     hold_id uuid NOT NULL,
     held_until timestamptz NOT NULL)`,
  `INSERT INTO ticket_shop.matches SELECT m, 'Match ' || m FROM generate_series(1, ${MATCHES}) m`,
  'INSERT INTO ticket_shop.prices VALUES (1, 4900), (2, 7900), (3, 12900)',
  `INSERT INTO ticket_shop.blocks
     SELECT b, 1 + (b - 1) / ${BLOCKS_PER_MATCH}, 'Block ' || (1 + (b - 1) % ${BLOCKS_PER_MATCH}), 1 + b % 3
     FROM generate_series(1, ${MATCHES * BLOCKS_PER_MATCH}) b`,
  `INSERT INTO ticket_shop.seats
     SELECT row_number() OVER (ORDER BY b.id, r, n), b.id, r, n, (b.id * 31 + r * 17 + n * 7) % 10 < 3
     FROM ticket_shop.blocks b, generate_series(1, ${ROWS_PER_BLOCK}) r, generate_series(1, ${SEATS_PER_ROW}) n`,
];
