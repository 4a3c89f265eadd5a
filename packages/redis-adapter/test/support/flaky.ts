import { Redis, type RedisOptions } from 'ioredis';

/** A client whose duplicates lose so many of their commands and replies; `draw` gives a number from 0 to 1 per command. */
export class FlakyRedis extends Redis {
  readonly #draw: () => number;
  readonly #lossRatio: () => number;

  constructor(options: RedisOptions, lossRatio: () => number, draw: () => number) {
    super({ ...options, replyMapping: 'legacy', lazyConnect: true });
    this.#lossRatio = lossRatio;
    this.#draw = draw;
  }

  override duplicate(changes?: Partial<RedisOptions>): Redis {
    const client = super.duplicate(changes);
    const send = client.sendCommand.bind(client);
    client.sendCommand = (command, stream) => {
      // What ioredis sends for itself, and what nobody waits for, arrives.
      if (stream === undefined) return send(command);
      const [luck, ratio] = [this.#draw(), this.#lossRatio()];
      const lost = new Error('Command timed out');
      if (luck < ratio / 2) {
        setImmediate(() => command.reject(lost));
        return command.promise;
      }
      if (luck < ratio) command.resolve = () => command.reject(lost);
      return send(command, stream);
    };
    return client;
  }
}

/** Numbers from 0 to 1 that a seed decides. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
