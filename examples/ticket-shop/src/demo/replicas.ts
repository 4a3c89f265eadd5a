import type { CollapseMode } from '../server/collapsing.js';
import { type Child, startChild } from './child.js';
import type { Teardown } from './teardown.js';

/** How the replicas are to treat the seat query from now on. */
export interface Setting {
  readonly collapse: CollapseMode;
  readonly busyMs: number;
}

export interface Replicas {
  /** Ports of those that run. */
  ports(): readonly number[];
  /** Resolves when each of them has obeyed. */
  configure(setting: Setting): Promise<void>;
  /** Ends one without warning; another takes its place a moment later. Returns its process id. */
  killOne(): number | undefined;
}

interface Replica {
  readonly child: Child;
  readonly port: number;
}

export interface ReplicasOptions {
  readonly count: number;
  readonly env: Readonly<Record<string, string>>;
  readonly teardown: Teardown;
}

/** Starts the replicas, each a process of its own, and resolves when all of them listen. */
export async function startReplicas({ count, env, teardown }: ReplicasOptions): Promise<Replicas> {
  let setting: Setting = { collapse: 'off', busyMs: 0 };
  let stopping = false;
  const replicas = new Set<Replica>();

  async function start(): Promise<void> {
    const overrides = { ...env, COLLAPSE: setting.collapse, BUSY_MS: String(setting.busyMs), PORT: '0', HOST: '127.0.0.1' };
    const child = startChild('a replica', new URL('../server/main.js', import.meta.url), overrides, teardown);
    const { port } = await child.next('ready');
    await obey(child, setting); // it may have changed meanwhile
    const replica = { child, port: Number(port) };
    replicas.add(replica);
    child.onExit(() => replicas.delete(replica));
  }

  async function restartSoon(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
    if (!stopping) await start().catch((error: unknown) => console.error(String(error)));
  }

  await Promise.all(Array.from({ length: count }, start));
  teardown.defer('the restarts', () => (stopping = true));
  return {
    ports: () => [...replicas].map(({ port }) => port),
    async configure(next) {
      setting = next;
      await Promise.all([...replicas].map(({ child }) => obey(child, next)));
    },
    killOne() {
      const [victim] = replicas;
      if (victim === undefined) return undefined;
      replicas.delete(victim);
      victim.child.kill();
      void restartSoon();
      return victim.child.pid;
    },
  };
}

const RESTART_MS = 3_000;

/** A replica that ends instead of answering has nothing left to obey with. */
async function obey(child: Child, setting: Setting): Promise<void> {
  const configured = child.next('configured');
  child.send({ kind: 'configure', ...setting });
  await configured.catch(() => {});
}
