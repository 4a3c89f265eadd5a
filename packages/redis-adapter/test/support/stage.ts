import { Redis } from 'ioredis';
import { type FleetConfig, type ReplicaProcess, startFleet } from './fleet.js';
import { type TestServer, startRedis } from '@oneflight/testkit';

/** A Redis to break, a second one at which loads count themselves and meet, and processes between them. */
export interface Stage {
  readonly server: TestServer;
  readonly controlServer: TestServer;
  /** A client of the server at which loads count themselves; it is never broken. */
  readonly control: Redis;
  /** Starts processes that end with the stage at the latest. */
  fleet(size: number, config?: Partial<FleetConfig>): Promise<readonly ReplicaProcess[]>;
  /** How often the key was loaded, in all processes. */
  loads(key: string): Promise<number>;
  /** Lets loads with this barrier end. */
  open(barrier: string): Promise<void>;
  close(): Promise<void>;
}

export async function setStage(args: readonly string[] = []): Promise<Stage> {
  const [server, controlServer] = await Promise.all([startRedis({ args }), startRedis()]);
  const control = new Redis(controlServer.url);
  const stops: (() => Promise<void>)[] = [];
  return {
    server,
    controlServer,
    control,
    async fleet(size, config = {}) {
      const fleet = await startFleet(size, { url: server.url, controlUrl: controlServer.url, ...config });
      stops.push(() => fleet.stop());
      return fleet.replicas;
    },
    loads: async (key) => Number(await control.get(`loads:${key}`)),
    async open(barrier) {
      await control.incrby(barrier, 1_000_000);
    },
    async close() {
      await Promise.all(stops.map((stop) => stop()));
      control.disconnect();
      await Promise.all([server.stop(), controlServer.stop()]);
    },
  };
}

/** A load that goes on until `stage.open(key)`. */
export function untilOpened(key: string): { readonly key: string; readonly count: number } {
  return { key, count: 1_000_000 };
}

/** Sizes are for a few minutes on two cores; a longer run multiplies them. */
export const SCALE = Number(process.env['ONEFLIGHT_FAULT_SCALE'] ?? 1);

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** For one line of numbers: whole milliseconds. */
export function ms(value: number): string {
  return `${Math.round(value)} ms`;
}
