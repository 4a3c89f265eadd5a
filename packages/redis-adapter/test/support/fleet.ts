import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What the loader of replica-process.mjs returns. Times are milliseconds of the machine's monotonic clock. */
export interface LoadReport {
  /** How many loads of the key had run, this one included. */
  readonly number: number;
  /** How many loads of the key ran when this one began, itself included. */
  readonly running: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly pid: number;
  readonly fencingToken?: number;
  readonly value?: unknown;
}

/** One call's answer, or its error. */
export interface CallReport {
  readonly startedAt: number;
  readonly endedAt: number;
  readonly source?: string;
  readonly waitedMs?: number;
  readonly load?: LoadReport;
  readonly error?: {
    readonly name: string;
    readonly message: string;
    readonly code?: string;
    readonly status?: number;
    readonly remote: boolean;
  };
}

/** One replica as a process of its own. */
export class ReplicaProcess {
  readonly child: ChildProcess;
  readonly stderr: string[] = [];
  readonly #replies = new Map<number, (reply: unknown) => void>();
  #number = 0;
  readonly ready: Promise<unknown>;

  constructor(config: FleetConfig) {
    const script = fileURLToPath(new URL('./replica-process.mjs', import.meta.url));
    this.child = fork(script, [JSON.stringify(config)], {
      execArgv: ['--unhandled-rejections=strict'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    this.child.stderr?.on('data', (chunk: Buffer) => this.stderr.push(String(chunk)));
    this.ready = new Promise((resolve) => this.#replies.set(0, resolve));
    this.child.on('message', ({ number, reply }: { number: number; reply: unknown }) => {
      this.#replies.get(number)?.(reply);
      this.#replies.delete(number);
    });
  }

  burst(request: BurstRequest): Promise<CallReport[]> {
    return this.#ask('burst', request);
  }

  sweep(request: Omit<BurstRequest, 'key' | 'calls'> & { readonly keys: readonly string[] }): Promise<CallReport[]> {
    return this.#ask('sweep', request);
  }

  many(request: ManyRequest): Promise<ManyReport> {
    return this.#ask('many', request);
  }

  once(request: WithBarrier<{ key: string; calls: number; ttlMs: number }>): Promise<string[]> {
    return this.#ask('once', request);
  }

  warm(
    request: WithBarrier<{ name: string; ids: readonly number[]; runOptions?: object; concurrency?: number }>,
  ): Promise<{ loaded: number; shared: number; failed: number; progress: number }> {
    return this.#ask('warm', request);
  }

  /** Resolves when each of the watchers has its first value. A slow one reads no further by itself. */
  watchStart(request: WithBarrier<{ key: string; watchers: number; debounceMs: number; slow?: boolean }>): Promise<void> {
    return this.#ask('watchStart', request);
  }

  /** The numbers of the loads that each watcher was given. */
  watched(key: string): Promise<{ values: readonly (readonly number[])[] }> {
    return this.#ask('watched', { key });
  }

  watchNext(key: string): Promise<number> {
    return this.#ask('watchNext', { key });
  }

  /** Aborts their signals; resolves when their iterations have ended. */
  watchStop(key: string): Promise<boolean[]> {
    return this.#ask('watchStop', { key });
  }

  /** Invalidates so many times at once. */
  change(key: string, times: number): Promise<void> {
    return this.#ask('change', { key, times });
  }

  /** Callers that each change the list they get; how many got it as it was loaded. */
  shuffles(request: WithBarrier<{ key: string; calls: number; isolate: string }>): Promise<{ whole: number; calls: number }> {
    return this.#ask('shuffles', request);
  }

  /** Loads that give an instance of a class, and whether each caller got one. */
  prices(request: WithBarrier<{ key: string; calls: number; withCodec: boolean }>): Promise<{ isPrice: boolean }[]> {
    return this.#ask('prices', request);
  }

  closedLoop(request: {
    readonly key: string;
    readonly users: number;
    readonly durationMs: number;
    readonly loadMs: number;
  }): Promise<{ calls: number; errors: number; overlaps: number }> {
    return this.#ask('closedLoop', request);
  }

  /** Calls every `everyMs` until `stopSteady`, which gives the answers. */
  startSteady(
    request: Omit<BurstRequest, 'key' | 'calls'> & { readonly keys: readonly string[]; readonly everyMs: number },
  ): Promise<void> {
    return this.#ask('startSteady', request);
  }

  stopSteady(): Promise<CallReport[]> {
    return this.#ask('stopSteady', {});
  }

  /** How often the collapser said what, by type and result. */
  events(): Promise<Record<string, number>> {
    return this.#ask('events', {});
  }

  /** Resolves with 'told' or the error's code. */
  tryInvalidate(key: string): Promise<string> {
    return this.#ask('tryInvalidate', { key });
  }

  invalidate(key: string): Promise<number> {
    return this.#ask('invalidate', { key });
  }

  stats(): Promise<{ flights: number; joinable: number; waiters: number; degraded: boolean; totals: Record<string, number> }> {
    return this.#ask('stats', {});
  }

  /** The spans that this process has exported. */
  spans(): Promise<SpanReport[]> {
    return this.#ask('spans', {});
  }

  /** Closes the collapser; resolves with the exit code once the process has ended by itself. */
  async close(): Promise<number | null> {
    const exited = once(this.child, 'exit');
    await this.#ask('close', {});
    const [code] = (await exited) as [number | null];
    return code;
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.child.kill(signal);
  }

  #ask<R>(command: string, request: object): Promise<R> {
    const number = ++this.#number;
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null): void =>
        reject(new Error(`the replica ended with ${code} before it replied to ${command}: ${this.stderr.join('')}`));
      this.child.once('exit', onExit);
      this.#replies.set(number, (reply) => {
        this.child.off('exit', onExit);
        resolve(reply as R);
      });
      this.child.send({ number, command, request });
    });
  }
}

/** Loads go on until `count` processes have come to the barrier. */
type WithBarrier<R> = R & { readonly barrier?: { readonly key: string; readonly count: number } };

export interface FleetConfig {
  /** Without a coordinator. */
  readonly alone?: boolean;
  /** The Redis (or a proxy to it) that the coordinator uses. */
  readonly url: string;
  /** The Redis at which loads count themselves. @default url */
  readonly controlUrl?: string;
  readonly options?: object;
  readonly name?: string;
  /** Whether each call gets a span. */
  readonly isTraced?: boolean;
}

/** A span as its process exported it. */
export interface SpanReport {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly context: { readonly traceId: string; readonly spanId: string; readonly isRemote?: boolean } }[];
  readonly parentSpanContext?: unknown;
}

export interface BurstRequest {
  readonly key: string;
  readonly calls: number;
  readonly loadMs: number;
  /** When to call, on the machine's monotonic clock. */
  readonly at?: number;
  /** The load goes on until `count` processes wait for it: their claims were answered. */
  readonly barrier?: { readonly key: string; readonly count: number };
  readonly fails?: string;
  readonly value?: unknown;
  readonly runOptions?: object;
}

/** One call of `runMany`; its keys are `[name, id]`. */
export interface ManyRequest {
  readonly name: string;
  readonly ids: readonly number[];
  readonly loadMs?: number;
  /** Batches go on until `count` processes wait: all their claims were answered. */
  readonly barrier?: { readonly key: string; readonly count: number };
  /** Ids that fail, each alone. */
  readonly fails?: readonly number[];
  /** The batch loader is a generator. */
  readonly yields?: boolean;
  readonly runOptions?: object;
}

export interface ManyReport {
  readonly values: readonly { readonly id: number; readonly number: number; readonly pid: number }[];
  readonly failures: readonly (readonly [id: number, message: string])[];
  readonly batches: readonly (readonly number[])[];
}

/** Starts replicas; `stop` kills whatever is still alive. */
export async function startFleet(
  size: number,
  config: FleetConfig,
): Promise<{ readonly replicas: readonly ReplicaProcess[]; stop(): Promise<void> }> {
  const replicas = Array.from({ length: size }, () => new ReplicaProcess(config));
  await Promise.all(replicas.map(({ ready }) => ready));
  return {
    replicas,
    async stop() {
      await Promise.all(
        replicas.map(async ({ child }) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const exited = once(child, 'exit');
          child.kill('SIGKILL');
          await exited;
        }),
      );
    },
  };
}

/** The machine's monotonic clock in milliseconds, as the replicas read it. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
