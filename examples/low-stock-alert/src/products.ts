import type { Pool } from 'pg';

export interface Product {
  readonly id: number;
  readonly name: string;
  readonly stock: number;
}

/** The products that a keyword finds and that are in stock. */
export async function findProducts(pool: Pool, keyword: string): Promise<Product[]> {
  const { rows } = await pool.query<Product>(
    'SELECT id, name, stock FROM low_stock.products WHERE strpos(name, $1) > 0 AND stock > 0 ORDER BY id',
    [keyword],
  );
  return rows;
}

/** Creates and fills the table, once, also when several replicas start together. */
export async function prepareDatabase(pool: Pool): Promise<void> {
  await pool.query(`DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('low_stock'));
    IF to_regclass('low_stock.products') IS NOT NULL THEN RETURN; END IF;
    CREATE SCHEMA low_stock;
    CREATE TABLE low_stock.products (id int PRIMARY KEY, name text NOT NULL, stock int NOT NULL);
    INSERT INTO low_stock.products SELECT p, 'vinyl record ' || p, 1 + p % 2 FROM generate_series(1, 12) p;
    INSERT INTO low_stock.products SELECT p, 'cassette ' || p, 1 FROM generate_series(13, 15) p;
    INSERT INTO low_stock.products SELECT p, 'poster ' || p, 50 FROM generate_series(16, 40) p;
  END $$`);
}
