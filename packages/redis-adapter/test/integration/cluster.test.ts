import { redisCommand, startCluster, type TestCluster } from '@oneflight/testkit';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { connect, type Socket } from 'node:net';
import { AbstractConnector, Cluster, type ClusterOptions, type RedisOptions } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

const PATIENT = { leaseMs: 600_000, retainMs: 600_000, commandTimeoutMs: 300_000 };
/** Keys of all three masters. */
const KEYS = Array.from({ length: 60 }, (_, at) => `k${at}`);

let servers: TestCluster;
let joined: TestReplica[] = [];
let tests = 0;

beforeAll(async () => {
  servers = await startCluster();
});

afterAll(async () => {
  await servers.stop();
});

afterEach(async () => {
  await Promise.all(joined.map(({ link }) => link.close()));
  joined = [];
});

test('claims of one tick take one write per master, and none waits for the replies to earlier ones', async () => {
  const writes: number[] = [];
  const { link, id } = join({ redisOptions: { Connector: recording(writes) } });
  await Promise.all(KEYS.map((key, at) => link.claim(claimOf(`warm ${key}`.replace(' ', '-'), id(at)))));
  writes.length = 0;
  const claims = KEYS.map((key, at) => link.claim(claimOf(key, id(100 + at))));
  await nextTurn();
  await nextTurn();
  expect(new Set(writes).size).toBe(3);
  expect(writes).toHaveLength(3);
  expect(new Set((await Promise.all(claims)).map(({ role }) => role))).toEqual(new Set(['leader']));
});

test('the keys of one logical key live on its master, whatever the client says about reads', async () => {
  const { link, id } = join({ scaleReads: 'slave', redisOptions: { keyPrefix: 'user:' } });
  const claims = await Promise.all(KEYS.map((key, at) => link.claim(claimOf(key, id(at)))));
  expect(claims.map(({ role }) => role)).toEqual(KEYS.map(() => 'leader'));
  const again = await Promise.all(KEYS.map((key, at) => link.claim(claimOf(key, id(at)))));
  expect(again).toEqual(claims);
});

test('servers that forgot the scripts are taught again, each of them', async () => {
  const { link, id } = join();
  await link.claim(claimOf('warm', id(0)));
  await Promise.all(servers.nodes.map((node) => redisCommand(node, 'SCRIPT', 'FLUSH')));
  const claims = await Promise.all(KEYS.map((key, at) => link.claim(claimOf(key, id(1 + at)))));
  expect(new Set(claims.map(({ role }) => role))).toEqual(new Set(['leader']));
});

test('a cluster behind other addresses is reached through natMap, by commands and by messages', async () => {
  const asked: string[] = [];
  const natMap = (name: string): { host: string; port: number } => {
    asked.push(name);
    return { host: 'localhost', port: Number(name.split(':')[1]) };
  };
  const [a, b] = [join({ natMap }), join({ natMap })];
  await a.link.claim(claimOf('k', a.id(1)));
  await b.link.claim(claimOf('k', b.id(1)));
  expect(await b.link.absent?.([a.id(1)])).toEqual([false]);
  const floor = await a.link.invalidate({ key: 'k' });
  expect(await b.hear('invalidated')).toMatchObject({ floor });
  expect(asked.length).toBeGreaterThan(0);
});

test('a large outcome is not published to every node: followers are told to fetch it', async () => {
  const [a, b] = [join(), join()];
  const lead = await a.link.claim(claimOf('k', a.id(1)));
  const follow = await b.link.claim(claimOf('k', b.id(1)));
  if (lead.role !== 'leader' || follow.role !== 'follower') throw new Error(`got ${lead.role} and ${follow.role}`);
  const outcome = { kind: 'value', bytes: Buffer.alloc(300, 'x') } as const;
  await a.link.settle({ key: 'k', id: a.id(1), token: lead.fencingToken, outcome });
  expect((await b.hear('woken')).ids).toEqual([b.id(1)]);
  expect(await b.link.claim(claimOf('k', b.id(1), { min: follow.min }))).toMatchObject({ role: 'settled', outcome });
});

type ClusterNodeOptions = NonNullable<ClusterOptions['redisOptions']> & { replyMapping?: 'legacy' };

function join(options: Omit<ClusterOptions, 'redisOptions'> & { redisOptions?: ClusterNodeOptions } = {}): TestReplica {
  const redis = new Cluster(
    servers.nodes.slice(0, 1).map(({ host, port }) => ({ host, port })),
    { lazyConnect: true, ...options },
  );
  if (joined.length === 0) tests += 1;
  const replica = joinReplica(redisCoordinator({ redis, prefix: `test-${tests}`, ...PATIENT }));
  joined.push(replica);
  return replica;
}

/** Notes the port of each write. */
function recording(writes: number[]): NonNullable<RedisOptions['Connector']> {
  return class extends AbstractConnector {
    readonly #address: { host: string; port: number };

    constructor(options: unknown) {
      super(0);
      this.#address = options as { host: string; port: number };
    }

    override connect(): Promise<Socket> {
      const { host, port } = this.#address;
      const socket = connect({ host, port });
      const write = socket.write.bind(socket);
      Object.assign(socket, {
        write: (...args: Parameters<typeof write>) => {
          writes.push(port);
          return write(...args);
        },
      });
      this.stream = socket;
      return Promise.resolve(socket);
    }
  };
}
