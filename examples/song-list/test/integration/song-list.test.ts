import {
  type PostgresServer,
  redisCommand,
  startApp,
  startPostgres,
  startRedis,
  type TestApp,
  type TestServer,
  waitFor,
} from '@oneflight/testkit';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/*
 * Four replicas as processes, a real PostgreSQL and Redis. In the database the table of artists, which only the sort
 * reads, becomes a view that counts the sorts and lets a test hold one up: after it has read, before it answers.
 */
const REPLICAS = 4;
const READS_PER_LIKE = 30;
/** A follower looks again after `recheckMs` (500 ms), and may then rightly lead a sort of its own. */
const HOLD_MS_MAX = 450;

interface Song {
  readonly id: number;
  readonly likes: number;
}

let postgres: PostgresServer;
let redis: TestServer;
let database: pg.Pool;
let replicas: readonly Replica[] = [];
let started = 0;

/** Its connections to the database bear its name. */
interface Replica {
  readonly name: string;
  readonly app: TestApp;
}

beforeAll(async () => {
  [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  database = new pg.Pool({ connectionString: postgres.url });
  database.on('error', () => undefined);
  replicas = await Promise.all(Array.from({ length: REPLICAS }, startReplica));
  await database.query(`
    CREATE SEQUENCE song_list.sorts;
    CREATE FUNCTION song_list.gate() RETURNS void LANGUAGE sql VOLATILE AS $$
      SELECT nextval('song_list.sorts'); SELECT pg_advisory_lock_shared(7); SELECT pg_advisory_unlock_shared(7) $$;
    ALTER TABLE song_list.artists RENAME TO all_artists;
    CREATE VIEW song_list.artists AS SELECT all_artists.* FROM song_list.all_artists, song_list.gate();
  `);
});

afterAll(async () => {
  await Promise.all(replicas.map(({ app }) => app.stop()));
  await database?.end();
  await Promise.all([postgres?.stop(), redis?.stop()]);
});

describe('the song list', () => {
  it('is sorted and whole in each answer while likes come in, and is sorted once per like at most', async () => {
    const sortsBefore = await sorts();
    const likes = 20;
    const before = await listOf(0);
    const seen: (readonly Song[])[] = [];
    for (let turn = 0; turn < likes; turn++) {
      const reads = Array.from({ length: READS_PER_LIKE }, (_, read) => listOf(read % REPLICAS));
      const [, ...lists] = await Promise.all([like(turn % REPLICAS, before.at(-1 - (turn % 5))?.id ?? 0), ...reads]);
      seen.push(...lists);
    }
    await everyListHas(total(before) + likes);
    expect(seen).toHaveLength(likes * READS_PER_LIKE);
    expect(seen.filter((list) => !isSorted(list) || list.length !== before.length)).toEqual([]);
    const count = (await sorts()) - sortsBefore;
    console.log(`${seen.length} reads and ${likes} likes on ${REPLICAS} replicas: ${count} sorts`);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(likes);
  });

  it('is sorted exactly once more for a like, or many, that come while it is being sorted', async () => {
    for (const likes of [1, 40]) expect(await sortsForLikesDuringASort(likes)).toBe(2);
  });

  it('stays as it was when the replica that sorts it dies, until another one has sorted it', async () => {
    const before = total(await listOf(0));
    replicas = [...replicas, await startReplica()];
    const release = await holdSorts();
    await like(0, 7);
    const [victim] = (await waitFor(heldSorts, { what: 'a sort to begin' })) ?? [];
    await replicas.find(({ name }) => name === victim)?.app.kill9();
    replicas = replicas.filter(({ name }) => name !== victim);
    expect(await Promise.all(replicas.map(async (_, index) => total(await listOf(index))))).toEqual(Array(REPLICAS).fill(before));
    await release();
    await everyListHas(before + 1);
  });

  it('answers 404 to a like of a song that is not there, and sorts nothing', async () => {
    const before = await sorts();
    for (const id of ['0', 'x', '1.5']) expect((await like(0, id)).status).toBe(404);
    expect(await sorts()).toBe(before);
  });

  it('ends on SIGTERM with exit code 0, and has said nothing', async () => {
    const { app } = await startReplica();
    expect(await app.stop()).toBe(0);
    expect(app.log.trim().split('\n')).toHaveLength(1);
  });
});

async function startReplica(): Promise<Replica> {
  const name = `replica-${++started}`;
  const env = { DATABASE_URL: `${postgres.url}?application_name=${name}`, REDIS_URL: redis.url };
  return { name, app: await startApp(new URL('../../dist/main.js', import.meta.url), env) };
}

async function listOf(replica: number): Promise<readonly Song[]> {
  const response = await fetch(`${replicas[replica]?.app.url}/songs`);
  return (await response.json()) as Song[];
}

function like(replica: number, songId: number | string): Promise<Response> {
  return fetch(`${replicas[replica]?.app.url}/songs/${songId}/like`, { method: 'POST' });
}

function isSorted(list: readonly Song[]): boolean {
  return list.every((song, place) => {
    const above = list[place - 1];
    return above === undefined || above.likes > song.likes || (above.likes === song.likes && above.id < song.id);
  });
}

function total(list: readonly Song[]): number {
  return list.reduce((sum, { likes }) => sum + likes, 0);
}

async function everyListHas(likes: number): Promise<void> {
  const lists = () => Promise.all(replicas.map((_, index) => listOf(index)));
  await waitFor(async () => (await lists()).every((list) => total(list) === likes), { what: `${likes} likes in every list` });
}

/** How often the songs were sorted, in all processes. */
async function sorts(): Promise<number> {
  const { rows } = await database.query('SELECT last_value::int AS value, is_called AS called FROM song_list.sorts');
  return rows[0].called ? rows[0].value : 0;
}

/** Sorts stop after they have read, until the function that it returns is called. */
async function holdSorts(): Promise<() => Promise<void>> {
  const session = await database.connect();
  await session.query('SELECT pg_advisory_lock(7)');
  return async () => {
    await session.query('SELECT pg_advisory_unlock(7)');
    session.release();
  };
}

/** The names of the replicas whose sorts are held up; undefined for none. */
async function heldSorts(): Promise<readonly string[] | undefined> {
  const { rows } = await database.query(
    "SELECT application_name AS name FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%ORDER BY likes%' AND pid <> pg_backend_pid()",
  );
  return rows.length === 0 ? undefined : rows.map(({ name }) => name);
}

/** How many replicas wait for the sort of another. */
async function followers(): Promise<number> {
  const keys = [await redisCommand(redis, 'KEYS', 'oneflight:v1:*:w')].flat();
  const counts = await Promise.all(keys.map((key) => redisCommand(redis, 'HLEN', String(key))));
  return counts.reduce<number>((sum, count) => sum + Number(count), 0);
}

/** One like makes the list be sorted; so many more come while that sort is held up. Returns how many sorts it all took. */
async function sortsForLikesDuringASort(likes: number): Promise<number> {
  for (;;) {
    const before = { sorts: await sorts(), likes: total(await listOf(0)) };
    const release = await holdSorts();
    await like(0, 1);
    await waitFor(heldSorts, { what: 'a sort to begin', everyMs: 5 });
    const heldFrom = performance.now();
    // One that has not heard of the first like yet would rightly sort for it after the next one.
    await waitFor(async () => (await followers()) === REPLICAS - 1, { what: 'all others to wait for it', everyMs: 5 });
    await Promise.all(Array.from({ length: likes }, (_, turn) => like(turn % REPLICAS, 2)));
    await release();
    const heldMs = performance.now() - heldFrom;
    await everyListHas(before.likes + 1 + likes);
    if (heldMs < HOLD_MS_MAX) return (await sorts()) - before.sorts;
  }
}
