import { redisCommand, startRedis } from '@oneflight/testkit';
import { cpus, totalmem } from 'node:os';

/** What the numbers depend on, without anything that names the machine. */
export interface Machine {
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly redis: string;
  readonly platform: string;
  /** Day of the run. */
  readonly date: string;
}

export async function factsOfMachine(): Promise<Machine> {
  const redis = await startRedis();
  try {
    const info = String(await redisCommand(redis, 'INFO', 'server'));
    return {
      cores: cpus().length,
      memoryGiB: classOf(totalmem() / 2 ** 30),
      node: process.versions.node,
      redis: /^(?:valkey_version|redis_version):(\S+)/m.exec(info)?.[1] ?? 'unknown',
      platform: `${process.platform} ${process.arch}`,
      date: new Date().toISOString().slice(0, 10),
    };
  } finally {
    await redis.stop();
  }
}

/** The next size that memory is sold in. */
function classOf(gibibytes: number): number {
  return [2, 4, 8, 16, 24, 32, 64, 128, 256].find((size) => gibibytes <= size) ?? 512;
}
