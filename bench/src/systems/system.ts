import type { Loaded } from '../loaded.js';

/** What a system under test is given. */
export interface Setup {
  /** A Redis that no other system uses. */
  readonly url: string;
}

/** One replica's side of a system. */
export interface Client {
  get(key: string, load: () => Promise<Loaded>): Promise<Loaded>;
  close(): Promise<void>;
}

/**
 * How far a system collapses equal calls: `nothing`, inside one `process`, or in the whole `cluster`.
 */
export type Reach = 'nothing' | 'process' | 'cluster';

/** A system under test: ours, a floor written by hand, or a package that a user could pick instead. */
export interface System {
  readonly name: string;
  readonly reach: Reach;
  /** How old an answer may be, in milliseconds, beyond the load that runs; 0 for systems that keep nothing. */
  readonly keepsMs: number;
  /** How it was set up and why this is its best; for the report. */
  readonly setup: string;
  open(setup: Setup): Promise<Client>;
}

/** How long systems that cannot do without it keep a value: the shortest whole second, which is the unit of one of them. */
export const KEEP_MS = 1_000;

/** The lease of a lock, for every system where it is a setting: the default of ours. */
export const LEASE_MS = 3_000;

/** How often systems that wait by asking again do so: the default of redis-semaphore. */
export const POLL_MS = 10;

/** One load per key at a time inside this process: what a user puts in front of anything that goes over the network. */
export function onePerKey(get: Client['get']): Client['get'] {
  const running = new Map<string, Promise<Loaded>>();
  return (key, load) => {
    const known = running.get(key);
    if (known !== undefined) return known;
    const promise = get(key, load).finally(() => running.delete(key));
    running.set(key, promise);
    return promise;
  };
}
