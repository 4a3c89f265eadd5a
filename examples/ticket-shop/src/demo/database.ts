import pg from 'pg';

import { prepareDatabase } from '../server/schema.js';
import { loadSeatMap, SEAT_QUERY_MARK } from '../server/seat-map.js';

/** The demo's own view of the database. */
export interface Database {
  /** How many times PostgreSQL has executed the seat query, by its own statistics. */
  seatQueries(): Promise<number>;
  /** The body that the shop must answer for this block. */
  expectedBody(block: { matchId: number; blockId: number }): Promise<string>;
  close(): Promise<void>;
}

/**
 * Connects, and fills the shop's tables.
 * @throws Error when the server does not count its statements
 */
export async function openDatabase(url: string): Promise<Database> {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  pool.on('error', (error) => console.error('the database connection of the demo broke:', error.message));
  try {
    await prepareDatabase(pool);
    await switchOnStatistics(pool);
  } catch (error) {
    await pool.end();
    throw error;
  }
  return {
    seatQueries: () => countSeatQueries(pool),
    expectedBody: async (block) => JSON.stringify((await loadSeatMap(pool, { ...block, busyMs: 0 })) ?? null),
    close: () => pool.end(),
  };
}

async function switchOnStatistics(pool: pg.Pool): Promise<void> {
  try {
    await pool.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
    await countSeatQueries(pool);
  } catch (error) {
    throw new Error(
      'the demo lets PostgreSQL count the queries: start the server of DATABASE_URL with shared_preload_libraries=pg_stat_statements, as a user who may create extensions, or unset DATABASE_URL',
      { cause: error },
    );
  }
}

async function countSeatQueries(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ calls: string }>(
    `SELECT coalesce(sum(calls), 0) AS calls FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND strpos(query, $1) > 0`,
    [SEAT_QUERY_MARK],
  );
  return Number(rows[0]?.calls);
}
