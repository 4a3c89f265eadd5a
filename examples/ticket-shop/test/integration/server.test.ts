import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const started: ChildProcess[] = [];
let database: pg.Pool;
let env: Record<string, string>;
let first: Replica;
let second: Replica;

beforeAll(async () => {
  const keeper = start('demo/keeper/main.js', { DATABASE_URL: '', REDIS_URL: '', CONNECTIONS_MAX: '60' });
  const { databaseUrl, redisUrl } = await message(keeper, 'ready');
  env = { DATABASE_URL: String(databaseUrl), REDIS_URL: String(redisUrl), PORT: '0', POOL_SIZE: '4' };
  database = new pg.Pool({ connectionString: env['DATABASE_URL'], max: 2 });
  [first, second] = await Promise.all([startReplica(), startReplica()]);
});

afterAll(async () => {
  await database?.end();
  for (const child of started.toReversed()) if (await isRunning(child)) await end(child);
});

describe('a replica of the ticket shop', () => {
  it('shows a hold to whoever asks after it, on any replica, also while an older query still runs', async () => {
    const [older] = await slowSeats(first, 2);
    const held = await post(first, '/api/matches/1/blocks/2/seats/121/hold');
    expect(held.status).toBe(201);
    expect(stateOf(await seats(first, 2), 121)).toBe('held');
    await expect.poll(async () => stateOf(await seats(second, 2), 121)).toBe('held');
    expect(stateOf(await older, 121)).toBe('free'); // it asked before
  });

  it('streams the seat map: a hold on one replica appears on the clients of every other', async () => {
    const leaves = new AbortController();
    const more = await Promise.all([startReplica(), startReplica()]);
    const streams = await Promise.all([first, second, ...more].map((replica) => seatEvents(replica, 3, leaves.signal)));
    const [seen] = await Promise.all(streams.map((next) => next()));
    const seatId = seen?.rows.flatMap((row) => row.seats).findLast(({ state }) => state === 'free')?.id ?? 0;
    expect((await post(first, `/api/matches/1/blocks/3/seats/${seatId}/hold`)).status).toBe(201);
    for (const next of streams) expect(stateOf(await next(), seatId)).toBe('held');
    leaves.abort();
    await Promise.all(more.map((replica) => end(replica.process)));
  });

  it('gives a seat to one customer only', async () => {
    const statuses = await Promise.all(
      [first, second, first, second].map(async (replica) => (await post(replica, '/api/matches/1/blocks/3/seats/241/hold')).status),
    );
    expect(statuses.sort()).toEqual([201, 409, 409, 409]);
  });

  it.each([
    ['GET', '/api/matches/1/blocks/0/seats', 400, 'blockId'],
    ['GET', '/api/matches/one/blocks/1/seats', 400, 'matchId'],
    ['GET', '/api/matches/1/blocks/1.5/seats', 400, 'blockId'],
    ['GET', '/api/matches/1/blocks/2147483648/seats', 400, 'blockId'],
    ['POST', '/api/matches/1/blocks/1/seats/-1/hold', 400, 'seatId'],
    ['GET', '/api/matches/2/blocks/1/seats', 404, 'no_such_block'],
    ['POST', '/api/matches/1/blocks/1/seats/999/hold', 404, 'no_such_seat'],
    ['GET', '/api/matches/none/blocks', 400, 'matchId'],
    ['GET', '/api/matches/99/blocks', 404, 'no_such_match'],
    ['GET', '/api/nothing', 404, 'not_found'],
  ])('answers %s %s with %i and says why', async (method, path, status, why) => {
    const response = await fetch(first.url + path, { method });
    expect(response.status).toBe(status);
    expect(await response.text()).toContain(why);
  });

  it('lists matches and their blocks, through collapse()', async () => {
    const response = await fetch(`${second.url}/api/matches`);
    expect(await response.json()).toHaveLength(4);
    const blocks = (await (await fetch(`${second.url}/api/matches/2/blocks`)).json()) as unknown[];
    expect([blocks.length, blocks[0]]).toEqual([25, { id: 26, name: 'Block 1', priceCents: 12_900 }]);
  });

  it('asks PostgreSQL once for the blocks that clients of two replicas ask for at the same time', async () => {
    const lock = await database.connect();
    await lock.query('BEGIN; LOCK TABLE ticket_shop.prices IN ACCESS EXCLUSIVE MODE'); // keeps the query waiting
    try {
      const asked = Array.from({ length: 20 }, (_, index) => blocksOf(index % 2 === 0 ? first : second, 3));
      await expect.poll(() => first.waiting() + second.waiting(), { timeout: 10_000 }).toBe(20);
      await expect.poll(lockedQueries).toBe(1);
      await lock.query('COMMIT');
      for (const blocks of await Promise.all(asked)) expect(blocks).toHaveLength(25);
    } finally {
      lock.release(true);
    }
  });

  it('ends on SIGTERM with exit code 0, after it has answered what it was asked before', async () => {
    const replica = await startReplica();
    const [asked] = await slowSeats(replica, 4);
    const exited = once(replica.process, 'exit');
    replica.process.kill('SIGTERM');
    await expect
      .poll(() =>
        fetch(`${replica.url}/healthz`).then(
          () => 'open',
          () => 'closed',
        ),
      )
      .toBe('closed');
    expect((await asked).blockId).toBe(4);
    expect(await exited).toEqual([0, null]);
  });

  it.each([
    [{ DATABASE_URL: '' }, 'DATABASE_URL'],
    [{ COLLAPSE: 'sometimes' }, 'COLLAPSE'],
    [{ COLLAPSE: 'cluster', REDIS_URL: '' }, 'REDIS_URL'],
    [{ POOL_SIZE: 'ten' }, 'POOL_SIZE'],
  ])('refuses to start with %j, and names the variable', async (wrong, named) => {
    const child = start('server/main.js', { ...env, ...wrong }, 'pipe');
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [code] = await once(child, 'exit');
    expect(code).toBe(1);
    expect(said).toContain(named);
  });
});

interface Replica {
  readonly process: ChildProcess;
  readonly url: string;
  /** How many of its callers wait for a flight, as it said last. */
  readonly waiting: () => number;
}

interface Seats {
  readonly blockId: number;
  readonly rows: { readonly seats: { readonly id: number; readonly state: string }[] }[];
}

async function startReplica(): Promise<Replica> {
  const child = start('server/main.js', env);
  let waiting = 0;
  child.on('message', (said: { kind: string; activity?: { waiting: number } }) => {
    if (said.kind === 'activity') waiting = said.activity?.waiting ?? 0;
  });
  const { port } = await message(child, 'ready');
  return { process: child, url: `http://127.0.0.1:${String(port)}`, waiting: () => waiting };
}

/** Asks for seats with a query that takes a while, and returns once PostgreSQL runs it; the replica's next ones are fast. */
async function slowSeats(replica: Replica, blockId: number): Promise<[Promise<Seats>]> {
  await configure(replica, 2_000);
  const answer = seats(replica, blockId);
  await expect.poll(sleepingQueries).toBe(1);
  await configure(replica, 0);
  return [answer];
}

async function configure(replica: Replica, busyMs: number): Promise<void> {
  const configured = message(replica.process, 'configured');
  replica.process.send({ kind: 'configure', collapse: 'cluster', busyMs });
  await configured;
}

async function sleepingQueries(): Promise<unknown> {
  const { rows } = await database.query("SELECT count(*)::int AS count FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
  return rows[0].count;
}

async function lockedQueries(): Promise<unknown> {
  const { rows } = await database.query("SELECT count(*)::int AS count FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
  return rows[0].count;
}

/** Under the name that both replicas have behind their load balancer: it is part of what makes two requests equal. */
async function blocksOf({ url }: Replica, matchId: number): Promise<unknown> {
  const request = get(`${url}/api/matches/${matchId}/blocks`, { headers: { host: 'shop.example' } });
  const responses: unknown[] = await once(request, 'response');
  return json(responses[0] as IncomingMessage);
}

async function seats(replica: Replica, blockId: number): Promise<Seats> {
  const response = await fetch(`${replica.url}/api/matches/1/blocks/${blockId}/seats`);
  expect(response.status).toBe(200);
  return (await response.json()) as Seats;
}

/** Opens a stream of seat maps; each call of what it returns waits for the next one. */
async function seatEvents(replica: Replica, blockId: number, signal: AbortSignal): Promise<() => Promise<Seats>> {
  const response = await fetch(`${replica.url}/api/matches/1/blocks/${blockId}/events`, { signal });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  return async () => {
    while (!text.includes('\n\n')) text += (await reader?.read())?.value ?? '';
    const [event = '', ...rest] = text.split('\n\n');
    text = rest.join('\n\n');
    return JSON.parse(event.replace(/^data: /, ''));
  };
}

function post(replica: Replica, path: string): Promise<Response> {
  return fetch(replica.url + path, { method: 'POST' });
}

function stateOf(map: Seats, seatId: number): string | undefined {
  return map.rows.flatMap((row) => row.seats).find((seat) => seat.id === seatId)?.state;
}

function start(module: string, overrides: Record<string, string>, stderr: 'inherit' | 'pipe' = 'inherit'): ChildProcess {
  const path = fileURLToPath(new URL(`../../dist/${module}`, import.meta.url));
  if (!existsSync(path)) throw new Error('the ticket shop is not built: run `npx tsc -b` first');
  const child = fork(path, [], { env: { ...process.env, ...overrides }, execArgv: [], stdio: ['ignore', 'inherit', stderr, 'ipc'] });
  started.push(child);
  return child;
}

function message(child: ChildProcess, kind: string): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    child.on('message', (value: Record<string, unknown>) => {
      if (value['kind'] === kind) resolve(value);
      if (value['kind'] === 'failed') reject(new Error(String(value['message'])));
    });
    child.once('exit', () => reject(new Error(`the process ended before it said "${kind}"`)));
  });
}

async function isRunning(child: ChildProcess): Promise<boolean> {
  return child.exitCode === null && child.signalCode === null;
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
