import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisCommand, type Reply } from './redis-command.js';
import { startRedis, type TestServer } from './redis-server.js';
import { waitFor } from './wait-for.js';

const SLOTS = 16_384;
const FORM_MS_MAX = 60_000;

export interface ClusterSetup {
  /** @default 3 */
  readonly masters?: number;
  /** Of each master. @default 1 */
  readonly replicas?: number;
  /** After how long a silent node counts as failed. @default 1_000 ms */
  readonly nodeTimeoutMs?: number;
}

/** A Redis Cluster of the test's own. */
export interface TestCluster {
  /** First those that began as masters, then their replicas. */
  readonly nodes: readonly TestServer[];
  /** The node that owns a slot now, as the nodes that answer see it. */
  ownerOf(slot: number): Promise<TestServer>;
  /** A replica of that master. */
  replicaOf(master: TestServer): Promise<TestServer>;
  /** The slot of a key. */
  slotOf(key: string): Promise<number>;
  /** Begins to move a slot; `finish` moves its keys and ends it. */
  migrate(slot: number, to: TestServer): Promise<{ finish(): Promise<void> }>;
  /** Resolves when every node that runs sees the whole cluster working. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a cluster of masters and replicas on free ports and resolves when it works. */
export async function startCluster({ masters = 3, replicas = 1, nodeTimeoutMs = 1_000 }: ClusterSetup = {}): Promise<TestCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'oneflight-cluster-'));
  const nodes: TestServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.kill9()));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (let at = 0; at < masters * (1 + replicas); at += 1) {
      const args = ['--cluster-enabled', 'yes', '--cluster-config-file', `nodes-${at}.conf`, '--dir', folder];
      nodes.push(
        await startRedis({
          mayBeContained: false,
          args: [...args, '--cluster-node-timeout', String(nodeTimeoutMs), '--cluster-allow-replica-migration', 'no'],
        }),
      );
    }
    await form(nodes, masters);
  } catch (error) {
    await stop();
    throw error;
  }
  return { ...viewOf(nodes), nodes, stop };
}

/** Gives the masters their slots, lets the nodes meet, and the replicas find their masters. */
async function form(nodes: readonly TestServer[], masters: number): Promise<void> {
  const [first = unknownNode(), ...others] = nodes;
  const share = Math.ceil(SLOTS / masters);
  for (const [at, node] of nodes.entries()) {
    await redisCommand(node, 'CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
    if (at >= masters) continue;
    const slots = Array.from({ length: Math.min(share, SLOTS - at * share) }, (_, slot) => at * share + slot);
    await redisCommand(node, 'CLUSTER', 'ADDSLOTS', ...slots);
  }
  for (const node of others) await redisCommand(first, 'CLUSTER', 'MEET', node.host, node.port);
  await all(
    nodes,
    async (node) =>
      lines(await redisCommand(node, 'CLUSTER', 'NODES')).filter((line) => !line.includes('handshake')).length === nodes.length,
  );
  for (const [at, node] of nodes.entries()) {
    if (at >= masters) await redisCommand(node, 'CLUSTER', 'REPLICATE', await idOf(nodes[at % masters] ?? unknownNode()));
  }
  await all(nodes, async (node) => (await works(node)) && (await isLinked(node)));
}

function viewOf(nodes: readonly TestServer[]): Omit<TestCluster, 'nodes' | 'stop'> {
  const slots = async (slot: number): Promise<readonly Reply[]> => {
    for (const node of nodes) {
      const ranges = await redisCommand(node, 'CLUSTER', 'SLOTS').catch(() => []);
      const range = list(ranges)
        .map(list)
        .find(([from, to]) => Number(from) <= slot && slot <= Number(to));
      if (range !== undefined) return range;
    }
    throw new Error(`nobody owns slot ${slot}`);
  };
  const withPort = (port: Reply | undefined): TestServer => nodes.find((node) => node.port === Number(port)) ?? unknownNode();
  return {
    ownerOf: async (slot) => withPort(list((await slots(slot))[2])[1]),
    async replicaOf(master) {
      const line = lines(await redisCommand(master, 'CLUSTER', 'REPLICAS', await idOf(master)))[0] ?? '';
      return withPort(/:(\d+)@/.exec(line)?.[1] ?? null);
    },
    slotOf: async (key) => Number(await Promise.any(nodes.map((node) => redisCommand(node, 'CLUSTER', 'KEYSLOT', key)))),
    async migrate(slot, to) {
      const from = withPort(list((await slots(slot))[2])[1]);
      const [fromId, toId] = [await idOf(from), await idOf(to)];
      await redisCommand(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
      await redisCommand(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
      return { finish: () => moveSlot(slot, from, to, toId) };
    },
    settled: () => all(nodes, async (node) => !(await answersPing(node)) || (await works(node))),
  };
}

async function moveSlot(slot: number, from: TestServer, to: TestServer, toId: string): Promise<void> {
  for (;;) {
    const keys = list(await redisCommand(from, 'CLUSTER', 'GETKEYSINSLOT', slot, 100)).map(String);
    if (keys.length === 0) break;
    await redisCommand(from, 'MIGRATE', to.host, to.port, '', 0, 5_000, 'KEYS', ...keys);
  }
  // The new owner first: it must not learn from the old one that the slot is still there.
  await redisCommand(to, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId);
  await redisCommand(from, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId);
}

async function works(node: TestServer): Promise<boolean> {
  return String(await redisCommand(node, 'CLUSTER', 'INFO')).includes('cluster_state:ok');
}

async function isLinked(node: TestServer): Promise<boolean> {
  const info = String(await redisCommand(node, 'INFO', 'replication'));
  return info.includes('role:master') || info.includes('master_link_status:up');
}

async function answersPing(node: TestServer): Promise<boolean> {
  return redisCommand(node, 'PING').then(
    () => true,
    () => false,
  );
}

async function idOf(node: TestServer): Promise<string> {
  return String(await redisCommand(node, 'CLUSTER', 'MYID'));
}

async function all(nodes: readonly TestServer[], holds: (node: TestServer) => Promise<boolean>): Promise<void> {
  for (const node of nodes)
    await waitFor(() => holds(node), { timeoutMs: FORM_MS_MAX, everyMs: 50, what: `the cluster to form, on port ${node.port}` });
}

function lines(text: Reply): string[] {
  return String(text)
    .split('\n')
    .filter((line) => line !== '');
}

function list(reply: Reply | undefined): readonly Reply[] {
  return typeof reply === 'object' && reply !== null ? reply : [];
}

function unknownNode(): never {
  throw new Error('expected a node of this cluster, got none');
}
