import type { Cluster, Redis } from 'ioredis';
import { type Client, isCluster } from './clients.js';
import { ignore } from './connection.js';
import { isMisdirected } from './failures.js';
import type { Sending } from './outgoing.js';
import type { Wire } from './wire.js';

/** Sends the commands of one tick with one write per server. */
export function dispatch(client: Client, batch: readonly Sending[]): void {
  if (isCluster(client)) {
    dispatchBySlot(client, batch);
    return;
  }
  const write = new OneWrite(client);
  const sender: Sender = client;
  for (const sending of batch) sender.sendCommand(sending, write);
  write.end();
}

/** Collects what ioredis would write command by command; to ioredis it is a pipeline. */
class OneWrite {
  readonly isPipeline = true;
  readonly destination: { readonly redis: Redis };
  readonly #pieces: (string | Buffer)[] = [];
  #texts: string[] = [];

  constructor(redis: Redis) {
    this.destination = { redis };
  }

  write(wire: Wire): void {
    if (typeof wire === 'string') {
      this.#texts.push(wire);
      return;
    }
    this.#pieces.push(this.#texts.join(''), ...wire);
    this.#texts = [];
  }

  /** Texts are bytes, one to a character. */
  end(): void {
    const { stream } = this.destination.redis;
    const pieces = [...this.#pieces, this.#texts.join('')].filter(({ length }) => length > 0);
    if (pieces.length > 1) stream.cork();
    for (const piece of pieces) stream.write(piece, 'latin1');
    if (pieces.length > 1) stream.uncork();
  }
}

/** What ioredis asks of a command and of a pipeline is what these have. */
interface Sender {
  sendCommand(command: object, stream: unknown): unknown;
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
    const owners = cluster.slots[sending.slot]?.join() ?? '';
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
  for (const { content } of group) pipeline.callBuffer(content.name, [...content.args]);
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
  for (const { content, resolve, reject } of group) cluster.callBuffer(content.name, [...content.args]).then(resolve, reject);
}
