import { type PostgresServer, startApp, startPostgres, startRedis, type TestApp, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

/*
 * Four replicas as processes, a real PostgreSQL and Redis. In the database the table of users becomes a view that writes
 * down each user that is read and by which query, and lets a test hold the queries up.
 */
const REPLICAS = 4;
const USERS_EACH = 50;
/** Each replica's users begin so many after those of the one before. */
const STEP = 10;

let postgres: PostgresServer;
let redis: TestServer;
let database: pg.Pool;
let probe: Redis;
let replicas: readonly TestApp[] = [];

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  database = new pg.Pool({ connectionString: postgres.url });
  database.on('error', () => undefined);
  probe = new Redis(redis.url);
  replicas = await Promise.all(Array.from({ length: REPLICAS }, startReplica));
  await database.query(`
    CREATE TABLE data_loader.reads (id int NOT NULL, query xid8 NOT NULL);
    CREATE FUNCTION data_loader.noted(int) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN
      INSERT INTO data_loader.reads VALUES ($1, pg_current_xact_id());
      PERFORM pg_advisory_lock_shared(7);
      PERFORM pg_advisory_unlock_shared(7);
      RETURN true;
    END $$;
    ALTER TABLE data_loader.users RENAME TO all_users;
    CREATE VIEW data_loader.users AS SELECT * FROM data_loader.all_users WHERE data_loader.noted(id);
  `);
});

beforeEach(() => database.query('DELETE FROM data_loader.reads'));

afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.stop()));
  probe?.disconnect();
  await database?.end();
  await Promise.all([postgres?.stop(), redis?.stop()]);
});

describe('a DataLoader over runMany', () => {
  it('reads each of the users that four replicas ask for at the same time once, by one query on each replica', async () => {
    const idsOf = (replica: number) => Array.from({ length: USERS_EACH }, (_, index) => 1 + replica * STEP + index);
    const all = new Set(replicas.flatMap((_, replica) => idsOf(replica)));
    const release = await holdQueries();
    const answers = Promise.all(replicas.map((replica, index) => users(replica, idsOf(index))));
    await followersAre(REPLICAS * USERS_EACH - all.size);
    await release();
    for (const [replica, answer] of (await answers).entries()) {
      expect(answer).toEqual(idsOf(replica).map((id) => ({ id, name: `User ${id}`, settings: { theme: 'dark' } })));
    }
    const { read, queries } = await reads();
    expect(read).toEqual([...all]);
    expect(queries).toBeLessThanOrEqual(REPLICAS);
    console.log(`${REPLICAS * USERS_EACH} users asked for on ${REPLICAS} replicas: ${read.length} read, by ${queries} queries`);
  });

  it('makes one batch of what a request asks for one by one, and asks once for what it names twice', async () => {
    expect(await users(replicas[0], [201, 202, 201])).toMatchObject([{ id: 201 }, { id: 202 }, { id: 201 }]);
    expect(await reads()).toEqual({ read: [201, 202], queries: 1 });
  });

  it('fails the keys that cannot be read or do not exist alone, with the same words on every replica', async () => {
    const release = await holdQueries();
    const answers = Promise.all(replicas.map((replica) => users(replica, [299, 300, 301, 9_999])));
    await followersAre((REPLICAS - 1) * 4);
    await release();
    const expected = [
      { id: 299, name: 'User 299', settings: { theme: 'dark' } },
      { id: 300, error: 'the settings of user 300 cannot be read' },
      { id: 301, name: 'User 301', settings: { theme: 'dark' } },
      { id: 9_999, error: 'there is no user 9999' },
    ];
    expect(await answers).toEqual(Array(REPLICAS).fill(expected));
    expect((await reads()).read).toEqual([299, 300, 301]);
  });

  it('answers everybody else when a replica dies in the middle of its batch', async () => {
    const doomed = await startReplica();
    const ids = [401, 402, 403];
    const release = await holdQueries();
    const lost = users(doomed, ids).catch(() => 'lost');
    await waitFor(async () => (await heldQueries()) === 1, { what: 'a batch to begin' });
    const answers = Promise.all(replicas.map((replica) => users(replica, ids)));
    await followersAre(REPLICAS * ids.length);
    await doomed.kill9();
    expect(await lost).toBe('lost');
    await release();
    expect(await answers).toEqual(Array(REPLICAS).fill(ids.map((id) => expect.objectContaining({ name: `User ${id}` }))));
  });

  it('refuses ids that are none', async () => {
    expect((await fetch(`${replicas[0]?.url}/users?ids=1,x`)).status).toBe(400);
  });

  it('ends on SIGTERM with exit code 0, and has said nothing', async () => {
    const replica = await startReplica();
    await users(replica, [1]);
    expect(await replica.stop()).toBe(0);
    expect(replica.log.trim().split('\n')).toHaveLength(1);
  });
});

function startReplica(): Promise<TestApp> {
  return startApp(new URL('../../dist/main.js', import.meta.url), { DATABASE_URL: postgres.url, REDIS_URL: redis.url });
}

async function users(replica: TestApp | undefined, ids: readonly number[]): Promise<unknown> {
  const response = await fetch(`${replica?.url}/users?ids=${ids.join()}`);
  return response.json();
}

/** Which users were read, in order, and by how many queries. */
async function reads(): Promise<{ read: number[]; queries: number }> {
  const { rows } = await database.query('SELECT id, query::text FROM data_loader.reads ORDER BY id');
  return { read: rows.map(({ id }) => id), queries: new Set(rows.map(({ query }) => query)).size };
}

/** Queries stop at the first user they find, until the function that it returns is called. */
async function holdQueries(): Promise<() => Promise<void>> {
  const session = await database.connect();
  await session.query('SELECT pg_advisory_lock(7)');
  return async () => {
    await session.query('SELECT pg_advisory_unlock(7)');
    session.release();
  };
}

/** How many queries are held up; what they have written down shows when they are over. */
async function heldQueries(): Promise<number> {
  const { rows } = await database.query("SELECT count(*)::int AS count FROM pg_stat_activity WHERE wait_event = 'advisory'");
  return rows[0].count;
}

/** Resolves when so many keys are waited for by replicas that do not load them. */
async function followersAre(count: number): Promise<void> {
  const waiting = async (): Promise<number> => {
    const sizes = await Promise.all((await probe.keys('*:w')).map((key) => probe.hlen(key)));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  await waitFor(async () => (await waiting()) === count, { what: `${count} keys to be waited for` });
}
