import type { Pool } from 'pg';

export interface User {
  readonly id: number;
  readonly name: string;
  readonly settings: unknown;
}

/** What one user came to: the user, or why there is none to be had. Users that do not exist are left out. */
export type UserOrError = User | Error;

/** All of these users by one query. A user whose settings cannot be read is an error, and costs the others nothing. */
export async function queryUsers(pool: Pool, ids: readonly number[]): Promise<Map<number, UserOrError>> {
  const { rows } = await pool.query<{ id: number; name: string; settings: string }>(
    'SELECT id, name, settings FROM data_loader.users WHERE id = ANY($1::int[])',
    [ids],
  );
  return new Map(rows.map((row) => [row.id, parse(row)]));
}

function parse({ id, name, settings }: { id: number; name: string; settings: string }): UserOrError {
  try {
    const parsed: unknown = JSON.parse(settings);
    return { id, name, settings: parsed };
  } catch {
    return new Error(`the settings of user ${id} cannot be read`);
  }
}

/** Creates and fills the table, once, also when several replicas start together. The settings of each hundredth user are broken. */
export async function prepareDatabase(pool: Pool): Promise<void> {
  await pool.query(`DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('data_loader'));
    IF to_regclass('data_loader.users') IS NOT NULL THEN RETURN; END IF;
    CREATE SCHEMA data_loader;
    CREATE TABLE data_loader.users (id int PRIMARY KEY, name text NOT NULL, settings text NOT NULL);
    INSERT INTO data_loader.users
      SELECT u, 'User ' || u, CASE WHEN u % 100 = 0 THEN '{"theme":' ELSE '{"theme":"dark"}' END FROM generate_series(1, 1000) u;
  END $$`);
}
