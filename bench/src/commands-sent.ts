import { Redis as Redis5 } from 'ioredis';
import { Redis as Redis6 } from 'ioredis6';

/** Commands by name. */
export type CommandCounts = Readonly<Record<string, number>>;

/**
 * Counts what ioredis sends, whoever made the client: what a script runs inside Redis is no command of a replica. Each call
 * of the result tells those since the last one.
 */
export function countCommandsSent(): () => CommandCounts {
  let counts: Record<string, number> = {};
  for (const { prototype } of [Redis5, Redis6]) {
    const send: unknown = Reflect.get(prototype, 'sendCommand');
    if (typeof send !== 'function') throw new Error('expected ioredis to have sendCommand');
    Reflect.set(prototype, 'sendCommand', function counted(this: unknown, command: { readonly name: string }, ...rest: unknown[]): unknown {
      counts[command.name] = (counts[command.name] ?? 0) + 1;
      return Reflect.apply(send, this, [command, ...rest]);
    });
  }
  return () => {
    const since = counts;
    counts = {};
    return since;
  };
}

export function addUp(all: readonly CommandCounts[]): CommandCounts {
  const total: Record<string, number> = {};
  for (const [name, count] of all.flatMap(Object.entries<number>)) total[name] = (total[name] ?? 0) + count;
  return total;
}
