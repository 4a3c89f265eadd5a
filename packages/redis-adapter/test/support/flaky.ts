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
    const pipeline = client.pipeline.bind(client);
    client.pipeline = (...args: Parameters<typeof pipeline>) => this.#losing(pipeline(...args));
    return client;
  }

  #losing<P extends ReturnType<Redis['pipeline']>>(pipeline: P): P {
    const call = pipeline.callBuffer.bind(pipeline) as (...args: unknown[]) => P;
    const losing = (...args: unknown[]): P => {
      const answer = args.at(-1) as (error: Error | null, reply?: unknown) => void;
      const [luck, ratio] = [this.#draw(), this.#lossRatio()];
      if (luck < ratio / 2) {
        setImmediate(() => answer(new Error('Command timed out')));
        return pipeline;
      }
      if (luck < ratio) return call(...args.slice(0, -1), () => answer(new Error('Command timed out')));
      return call(...args);
    };
    Object.assign(pipeline, { callBuffer: losing });
    return pipeline;
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
