import type { CommandCounts } from './commands-sent.js';
import type { LatencyCounts } from './statistics.js';

/** Many callers of one key at the same moment. */
export interface BurstRequest {
  readonly key: string;
  readonly callers: number;
  readonly loadMs: number;
  readonly payloadBytes: number;
  /** When to call, on the machine's monotonic clock. */
  readonly at: number;
  /** Whether to say when the load begins, for whoever wants to kill the process then. */
  readonly tellsLoad?: boolean;
}

export interface BurstReply {
  /** Each answered caller's latency on top of the load, in milliseconds. */
  readonly addedMs: readonly number[];
  /** When the last caller was answered, on the machine's monotonic clock. */
  readonly endedAt: number;
  readonly loads: number;
  readonly failures: number;
}

/** One caller of each of many keys. */
export interface SweepRequest {
  readonly prefix: string;
  readonly keys: number;
  readonly loadMs: number;
  /** How many keys are asked for at the same moment, and how long it is until the next. Absent: all at once. */
  readonly wave?: { readonly keys: number; readonly everyMs: number };
  readonly at: number;
}

export type SweepReply = BurstReply;

/** Users who call again as soon as they were answered. */
export interface LoopRequest {
  readonly users: number;
  readonly keys: number;
  readonly durationMs: number;
  readonly databasePort: number;
  readonly at: number;
}

export interface LoopReply {
  readonly latencies: LatencyCounts;
  readonly loads: number;
  readonly failures: number;
}

/** Parent to replica. */
export type Ask =
  | { readonly command: 'burst'; readonly request: BurstRequest }
  | { readonly command: 'sweep'; readonly request: SweepRequest }
  | { readonly command: 'loop'; readonly request: LoopRequest }
  | { readonly command: 'close' };

/** What came of an ask. */
export type Done =
  | { readonly command: 'burst'; readonly reply: BurstReply }
  | { readonly command: 'sweep'; readonly reply: SweepReply }
  | { readonly command: 'loop'; readonly reply: LoopReply }
  | { readonly command: 'close' };

/** What an ask cost this replica. */
export interface Cost {
  readonly cpuMs: number;
  /** What ioredis sent; nothing with another client. */
  readonly sent: CommandCounts;
}

/** Replica to parent. */
export type Tell =
  | { readonly what: 'ready' }
  | { readonly what: 'loading' }
  | { readonly what: 'done'; readonly number: number; readonly done: Done; readonly cost: Cost }
  | { readonly what: 'failed'; readonly number: number; readonly message: string };
