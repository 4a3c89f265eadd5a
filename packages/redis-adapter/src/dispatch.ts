import type { Cluster, Redis } from 'ioredis';
import { type Client, isCluster } from './clients.js';
import { ignore } from './connection.js';
import { isMisdirected } from './failures.js';
import { slotOf } from './slot.js';

/** One command, and where its reply goes. Rejected with whatever ioredis says. */
export interface Sending {
  readonly name: string;
  readonly args: readonly Argument[];
  /** Decides which node of a cluster it goes to. */
  readonly key: string;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export type Argument = string | number | Buffer;

/** Sends the commands of one tick with one write per server. */
export function dispatch(client: Client, batch: readonly Sending[]): void {
  if (isCluster(client)) {
    dispatchBySlot(client, batch);
    return;
  }
  const pipeline = client.pipeline();
  for (const { name, args, resolve, reject } of batch) {
    pipeline.callBuffer(name, [...args], (error, reply) => (error ? reject(error) : resolve(reply)));
  }
  pipeline.exec().catch(ignore);
}

/** Runs a callback for each server that the client connects to, each time that connection is ready. */
export function onEachServer(client: Client, use: (server: Redis) => void): void {
  if (!isCluster(client)) {
    client.on('ready', () => use(client));
    return;
  }
  client.on('+node', (node: Redis) => node.on('ready', () => use(node)));
  // ioredis would connect to a master with the first command for it, which would wait for that.
  client.on('ready', () => {
    for (const node of client.nodes('master')) if (node.status === 'wait') node.connect().catch(ignore);
  });
}

/** A cluster takes a pipeline only for keys that live on the same node. */
function dispatchBySlot(cluster: Cluster, batch: readonly Sending[]): void {
  const groups = new Map<string, Sending[]>();
  for (const sending of batch) {
    const owners = cluster.slots[slotOf(sending.key)]?.join() ?? '';
    const group = groups.get(owners);
    if (group === undefined) groups.set(owners, [sending]);
    else group.push(sending);
  }
  for (const [owners, group] of groups) {
    // A slot that nobody owns, as far as is known: one by one, ioredis asks around.
    if (owners === '') redirect(cluster, group);
    else void dispatchToOwner(cluster, group);
  }
}

async function dispatchToOwner(cluster: Cluster, group: readonly Sending[]): Promise<void> {
  const pipeline = cluster.pipeline();
  for (const { name, args } of group) pipeline.callBuffer(name, [...args]);
  try {
    // ioredis may repeat all of it, so only the end counts, and not what each command says meanwhile.
    const results = (await pipeline.exec()) ?? [];
    group.forEach((sending, at) => {
      const [error, reply] = results[at] ?? [new Error('no result')];
      if (error === null) sending.resolve(reply);
      else if (!isMisdirected(error)) sending.reject(error);
    });
    redirect(
      cluster,
      group.filter((_, at) => isMisdirected(results[at]?.[0])),
    );
  } catch {
    // The slots changed hands while it was put together.
    redirect(cluster, group);
  }
}

/** The slot is moving, or its master: ioredis follows the redirections of a command that is sent alone. In the order sent. */
function redirect(cluster: Cluster, group: readonly Sending[]): void {
  for (const { name, args, resolve, reject } of group) cluster.callBuffer(name, [...args]).then(resolve, reject);
}
