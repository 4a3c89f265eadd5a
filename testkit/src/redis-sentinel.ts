import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnServer, type ChildServer } from './child-server.js';
import { freePort } from './free-port.js';
import { redisCommand } from './redis-command.js';
import { startRedis, type TestServer } from './redis-server.js';
import { waitFor } from './wait-for.js';

const FORM_MS_MAX = 60_000;
const NAME = 'oneflight';

export interface SentinelSetup {
  /** @default 2 */
  readonly replicas?: number;
  /** @default 3 */
  readonly sentinels?: number;
  /** After how long a silent master counts as down. @default 500 ms */
  readonly downAfterMs?: number;
}

/** A master with replicas, watched by sentinels. */
export interface TestSentinel {
  /** What the sentinels call the master. */
  readonly name: string;
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** First the one that began as the master. */
  readonly servers: readonly TestServer[];
  /** Who the sentinels say the master is now. */
  master(): Promise<TestServer>;
  stop(): Promise<void>;
}

/** Starts a master, its replicas and sentinels on free ports, and resolves when the sentinels know them all. */
export async function startSentinel({ replicas = 2, sentinels = 3, downAfterMs = 500 }: SentinelSetup = {}): Promise<TestSentinel> {
  const folder = await mkdtemp(join(tmpdir(), 'oneflight-sentinel-'));
  const servers: TestServer[] = [];
  const watchers: Watcher[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(watchers.map(({ process }) => process.end('SIGKILL')));
    await Promise.all(servers.map((server) => server.kill9()));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const master = await startRedis({ mayBeContained: false });
    servers.push(master);
    const replicating = ['--replicaof', master.host, String(master.port), '--repl-diskless-sync-delay', '0', '--dir', folder];
    for (let at = 0; at < replicas; at += 1) servers.push(await startRedis({ mayBeContained: false, args: replicating }));
    for (let at = 0; at < sentinels; at += 1) watchers.push(await startWatcher(folder, master, Math.floor(sentinels / 2) + 1, downAfterMs));
    await known(servers, watchers);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    name: NAME,
    sentinels: watchers.map(({ host, port }) => ({ host, port })),
    servers,
    async master() {
      const [, port] = [await ask(watchers, 'GET-MASTER-ADDR-BY-NAME')].flat();
      const server = servers.find((one) => one.port === Number(port));
      if (server === undefined) throw new Error(`expected a master of ours, got port ${String(port)}`);
      return server;
    },
    stop,
  };
}

interface Watcher {
  readonly host: string;
  readonly port: number;
  readonly process: ChildServer;
}

/** A sentinel keeps its state in its configuration file, so it needs one that it may write. */
async function startWatcher(folder: string, master: TestServer, quorum: number, downAfterMs: number): Promise<Watcher> {
  const port = await freePort();
  const file = join(folder, `sentinel-${port}.conf`);
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor ${NAME} ${master.host} ${master.port} ${quorum}`,
    `sentinel down-after-milliseconds ${NAME} ${downAfterMs}`,
    `sentinel failover-timeout ${NAME} 5000`,
    `sentinel parallel-syncs ${NAME} 2`,
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  const watcher = { host: '127.0.0.1', port, process: spawnServer(process.env['REDIS_SERVER'] ?? 'redis-server', [file, '--sentinel']) };
  await waitFor(() => redisCommand(watcher, 'PING'), {
    timeoutMs: FORM_MS_MAX,
    what: `the sentinel on port ${port}: ${watcher.process.log}`,
  });
  return watcher;
}

async function known(servers: readonly TestServer[], watchers: readonly Watcher[]): Promise<void> {
  for (const watcher of watchers) {
    await waitFor(
      async () => {
        const reply = [await redisCommand(watcher, 'SENTINEL', 'MASTER', NAME)].flat().map(String);
        const field = (name: string): number => Number(reply[reply.indexOf(name) + 1]);
        return field('num-slaves') === servers.length - 1 && field('num-other-sentinels') === watchers.length - 1;
      },
      { timeoutMs: FORM_MS_MAX, everyMs: 50, what: 'the sentinels to know each other and the replicas' },
    );
  }
  for (const server of servers.slice(1)) {
    const isUp = async (): Promise<boolean> => String(await redisCommand(server, 'INFO', 'replication')).includes('master_link_status:up');
    await waitFor(isUp, { timeoutMs: FORM_MS_MAX, everyMs: 50, what: 'the replicas to be in step' });
  }
}

async function ask(watchers: readonly Watcher[], question: string) {
  for (const watcher of watchers) {
    const reply = await redisCommand(watcher, 'SENTINEL', question, NAME).catch(() => null);
    if (reply !== null) return reply;
  }
  throw new Error('no sentinel answers');
}
