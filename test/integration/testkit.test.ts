import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import {
  freePort,
  type PostgresServer,
  startPostgres,
  startProxy,
  startRedis,
  type TcpProxy,
  type TestServer,
  waitFor,
} from '@oneflight/testkit';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectLine, type LineClient } from '../support/line-client.js';

const clients: LineClient[] = [];
const open = async (port: number): Promise<LineClient> => {
  const client = await connectLine(port);
  clients.push(client);
  return client;
};

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

describe('startRedis', () => {
  let redis: TestServer;

  beforeEach(async () => {
    redis = await startRedis();
  });

  afterEach(() => redis.stop());

  it('answers as soon as it is there, and is gone after stop', async () => {
    expect(await (await open(redis.port)).ask('PING')).toBe('+PONG');
    await redis.stop();
    expect(isAlive(redis.pid)).toBe(false);
    await expect(open(redis.port)).rejects.toThrow('ECONNREFUSED');
  });

  it('holds its answers while paused', async () => {
    const client = await open(redis.port);
    redis.pause();
    const reply = client.ask('PING');
    const other = await startRedis();
    const busy = await open(other.port);
    for (let times = 0; times < 50; times += 1) await busy.ask('PING');
    expect(client.received).toEqual([]);
    redis.resume();
    expect(await reply).toBe('+PONG');
    await other.stop();
  });

  it('stops while paused', async () => {
    redis.pause();
    await redis.stop();
    expect(isAlive(redis.pid)).toBe(false);
  });

  it('comes back empty on the same port', async () => {
    const before = { port: redis.port, pid: redis.pid };
    await (await open(redis.port)).ask('SET a 1');
    await redis.kill9();
    await redis.restart();
    expect(await (await open(redis.port)).ask('EXISTS a')).toBe(':0');
    expect(redis.port).toBe(before.port);
    expect(redis.pid).not.toBe(before.pid);
  });

  it('says what the server printed when it does not start', async () => {
    await expect(startRedis({ args: ['--no-such-option', 'x'] })).rejects.toThrow(/no-such-option/);
    await expect(startRedis({ port: redis.port })).rejects.toThrow(/address already in use/i);
    await expect(startRedis({ binary: '/nowhere/redis-server' })).rejects.toThrow('/nowhere/redis-server');
  });
});

describe('startProxy', () => {
  let redis: TestServer;
  let proxy: TcpProxy;

  beforeEach(async () => {
    redis = await startRedis();
    proxy = await startProxy({ target: redis });
  });

  afterEach(async () => {
    await proxy.stop();
    await redis.stop();
  });

  it('passes bytes both ways', async () => {
    expect(await (await open(proxy.port)).ask('PING')).toBe('+PONG');
  });

  it('paused to the client: the server acts and the reply comes after resume', async () => {
    const client = await open(proxy.port);
    proxy.pause('toClient');
    const reply = client.ask('INCR n');
    const direct = await open(redis.port);
    await waitFor(async () => (await direct.ask('EXISTS n')) === ':1');
    expect(client.received).toEqual([]);
    await proxy.resume();
    expect(await reply).toBe(':1');
  });

  it('paused to the server: the server acts only after resume', async () => {
    const client = await open(proxy.port);
    await client.ask('PING');
    proxy.pause('toServer');
    const reply = client.ask('INCR n');
    expect(await (await open(redis.port)).ask('EXISTS n')).toBe(':0');
    await proxy.resume();
    expect(await reply).toBe(':1');
  });

  it('pauses one connection and leaves the others alone', async () => {
    const [first, second] = [await open(proxy.port), await open(proxy.port)];
    proxy.connections[0]?.pauseToClient();
    const held = first.ask('PING');
    expect(await second.ask('PING')).toBe('+PONG');
    expect(first.received).toEqual([]);
    proxy.connections[0]?.resume();
    expect(await held).toBe('+PONG');
  });

  it('loses a reply: paused to the client, then cut', async () => {
    const client = await open(proxy.port);
    proxy.connections[0]?.pauseToClient();
    const reply = client.ask('INCR n');
    const direct = await open(redis.port);
    await waitFor(async () => (await direct.ask('EXISTS n')) === ':1');
    proxy.connections[0]?.cut();
    await expect(reply).rejects.toThrow('closed');
    expect(proxy.connections[0]?.open).toBe(false);
  });

  it('cut: drops every connection and takes new ones', async () => {
    const reply = (await open(proxy.port)).ask('BLPOP nothing 0');
    await waitFor(() => proxy.connections.length === 1);
    proxy.cut();
    await expect(reply).rejects.toThrow('closed');
    expect(await (await open(proxy.port)).ask('PING')).toBe('+PONG');
  });

  it('refuse: takes no connection until resume', async () => {
    await proxy.refuse();
    await expect(open(proxy.port)).rejects.toThrow('ECONNREFUSED');
    await proxy.resume();
    expect(await (await open(proxy.port)).ask('PING')).toBe('+PONG');
  });

  it('latency: delays each way and keeps the order', async () => {
    const client = await open(proxy.port);
    proxy.latency(60);
    const startedAt = performance.now();
    expect(await Promise.all([client.ask('INCR n'), client.ask('INCR n')])).toEqual([':1', ':2']);
    expect(performance.now() - startedAt).toBeGreaterThan(115);
  });

  it('gives up the client when its server is away', async () => {
    await redis.kill9();
    const client = await open(proxy.port);
    await expect(client.ask('PING')).rejects.toThrow('closed');
  });
});

describe('startPostgres', () => {
  it('answers queries, and leaves nothing behind', async () => {
    const before = postgresFolders();
    const server: PostgresServer = await startPostgres();
    const client = new Client({ connectionString: server.url });
    await client.connect();
    const { rows } = await client.query('select 1 + 1 as two');
    expect(rows).toEqual([{ two: 2 }]);
    await client.end();
    await server.stop();
    expect(postgresFolders()).toEqual(before);
    await expect(open(Number(new URL(server.url).port))).rejects.toThrow('ECONNREFUSED');
  });
});

describe('waitFor', () => {
  it('resolves with the first truthy answer', async () => {
    const answers = [0, '', 'there'];
    expect(await waitFor(() => answers.shift())).toBe('there');
  });

  it('rejects with what it waited for, and why it was not there', async () => {
    const failing = waitFor(() => Promise.reject(new Error('closed today')), { timeoutMs: 30, what: 'the shop to open' });
    await expect(failing).rejects.toMatchObject({ message: expect.stringContaining('the shop to open'), cause: new Error('closed today') });
  });
});

describe('freePort', () => {
  it('leaves room for the second port of a cluster node', async () => {
    expect(await freePort()).toBeLessThanOrEqual(55_535);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function postgresFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('oneflight-postgres-'));
}
