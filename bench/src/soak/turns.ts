import type { Collapser, LoadContext } from '@oneflight/core';
import { setTimeout as sleep } from 'node:timers/promises';

/** What all turns of a soak have in common. */
export class Stage {
  /** Runs of a loader until now. */
  flights = 0;
  /** A signal that outlives all calls, as that of a server which shuts down does: whoever listens to it must stop. */
  readonly #shutdown = new AbortController();
  /** How many different keys the turns of one kind have. */
  readonly keysMax: number;
  readonly #replicas: readonly Collapser[];

  constructor(replicas: readonly Collapser[], keysMax: number) {
    this.#replicas = replicas;
    this.keysMax = keysMax;
  }

  get shutdown(): AbortSignal {
    return this.#shutdown.signal;
  }

  /** The replica that the callers of one moment ask in turn. */
  replica(turn = 0): Collapser {
    const replica = this.#replicas[turn % this.#replicas.length];
    if (replica === undefined) throw new Error('a soak needs a replica');
    return replica;
  }

  readonly load = async (): Promise<readonly number[]> => {
    this.flights++;
    return [1, 2, 3];
  };

  /** Long enough for callers on other replicas to follow. */
  readonly slowLoad = async (): Promise<readonly number[]> => {
    this.flights++;
    await sleep(1);
    return [1, 2, 3];
  };

  readonly failingLoad = async (): Promise<never> => {
    this.flights++;
    await sleep(1);
    throw new Error('the load failed');
  };

  /** Ends only when its signal aborts. */
  readonly endlessLoad = ({ signal }: LoadContext): Promise<never> => {
    this.flights++;
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted')), { once: true });
    });
  };

  readonly privateLoad = async ({ unshareable }: LoadContext): Promise<number> => {
    this.flights++;
    unshareable();
    await sleep(1);
    return 1;
  };

  readonly batchLoad = async (keys: readonly number[]): Promise<Map<number, number>> => {
    this.flights += keys.length;
    return new Map(keys.map((key) => [key, key]));
  };
}

export interface Turn {
  readonly what: string;
  /** How many of all turns are of this kind. */
  readonly share: number;
  /** Starts flights of a key that no other kind asks for, and waits for all its calls. */
  run(stage: Stage, key: string, number: number): Promise<unknown>;
}

const CALLERS = [0, 1, 2, 3, 4];

/** What a service does to its collapser, and what it should not. */
export const TURNS: readonly Turn[] = [
  { what: 'alone', share: 60, run: (stage, key, number) => stage.replica(number).run(key, stage.load) },
  { what: 'joined by several', share: 8, run: (stage, key) => all((caller) => stage.replica(caller).run(key, stage.slowLoad)) },
  { what: 'alone, with a signal that outlives it', share: 3, run: runUnderLongSignal },
  { what: 'failing', share: 3, run: (stage, key) => all((caller) => failing(stage.replica(caller).run(key, stage.failingLoad))) },
  { what: 'failing, not shared', share: 1, run: runUnsharedError },
  {
    what: 'timed out',
    share: 2,
    run: (stage, key) => all((caller) => failing(stage.replica(caller).run(key, stage.endlessLoad, PATIENCE))),
  },
  { what: 'whose load takes too long', share: 1, run: runTooLong },
  { what: 'aborted by signal', share: 3, run: runAborted },
  { what: 'read from the store', share: 3, run: (stage, key, number) => runStored(stage, key, number, { ttlMs: 1_000 }) },
  { what: 'lingering', share: 2, run: (stage, key, number) => runStored(stage, key, number, { lingerMs: 20 }) },
  { what: 'invalidated', share: 2, run: runInvalidated },
  { what: 'invalidated by a tag', share: 1, run: runTagged },
  {
    what: 'private',
    share: 2,
    run: (stage, key) => all((caller) => stage.replica(caller).run(key, stage.privateLoad, { mayBePrivate: true })),
  },
  { what: 'of many keys', share: 1, run: runMany },
  { what: 'strict and confirmed', share: 2, run: runFresh },
  { what: 'once', share: 1, run: (stage, key, number) => stage.replica(number).once(key, stage.load, { ttlMs: 20 }) },
  { what: 'watched', share: 1, run: runWatched },
  { what: 'cloned', share: 1, run: (stage, key) => all((caller) => stage.replica(caller).run(key, stage.slowLoad, { isolate: 'clone' })) },
];

/**
 * Fills what a collapser remembers: of invalidations, of each key where there is a coordinator (10,000 keys, and as many again
 * until the older half is forgotten at once), and what it stores where there is none. So that the memory tells of flights
 * alone, the same names, fewer than that, come again and again.
 */
export async function fill(stage: Stage): Promise<void> {
  for (let from = 0; from < NAMES; from += AT_ONCE) {
    const numbers = Array.from({ length: AT_ONCE }, (_, index) => from + index);
    await Promise.all(numbers.map((number) => stage.replica(number).invalidateTag(nameOf(number))));
    await Promise.all(numbers.map((number) => stage.replica(number).invalidate(nameOf(number))));
    await Promise.all(numbers.map((number) => runMany(stage, '', number)));
  }
  if (stage.keysMax === KEYS_OF_A_KIND) await fillKeys(stage);
  else await fillStore(stage);
}

async function fillKeys(stage: Stage): Promise<void> {
  for (const turn of TURNS) {
    const keys = Array.from({ length: stage.keysMax }, (_, number) => keyOf(stage, turn, number));
    await all((caller) => Promise.all(keys.map((key) => stage.replica(caller).run(key, stage.load))));
    if (turn.what === 'once') await Promise.all(keys.map((key, number) => stage.replica(number).once(key, stage.load, { ttlMs: 5 })));
  }
}

async function fillStore(stage: Stage): Promise<void> {
  for (let from = 0; from < STORED_MAX; from += AT_ONCE) {
    const keys = Array.from({ length: AT_ONCE }, (_, index) => `stored ${from + index}`);
    await Promise.all(keys.map((key) => stage.replica().run(key, stage.load, { ttlMs: 5 })));
  }
}

export function keyOf({ keysMax }: Stage, { what }: Turn, number: number): string {
  return `${what} ${number % keysMax}`;
}

/** Of what is invalidated. */
function nameOf(number: number): string {
  return `invalidated ${number % NAMES}`;
}

/** How many different keys of one kind there are, and of what is invalidated, where they come again and again. */
export const KEYS_OF_A_KIND = 300;
const NAMES = 1_000;
/** A little more than a collapser stores without a coordinator. */
const STORED_MAX = 10_500;
const AT_ONCE = 250;

const PATIENCE = { timeoutMs: 2 };

function runUnderLongSignal(stage: Stage, key: string, number: number): Promise<unknown> {
  return stage.replica(number).run(key, stage.load, { signal: stage.shutdown });
}

function runUnsharedError(stage: Stage, key: string): Promise<unknown> {
  return all((caller) => failing(stage.replica(caller).run(key, stage.failingLoad, { shareErrors: false })));
}

function runTooLong(stage: Stage, key: string): Promise<unknown> {
  return all((caller) => failing(stage.replica(caller).run(key, stage.endlessLoad, { loadTimeoutMs: 2 })));
}

function runAborted(stage: Stage, key: string): Promise<unknown> {
  const leaves = new AbortController();
  const calls = all((caller) => failing(stage.replica(caller).run(key, stage.endlessLoad, { signal: leaves.signal })));
  setImmediate(() => leaves.abort());
  return calls;
}

async function runStored(stage: Stage, key: string, number: number, options: { ttlMs?: number; lingerMs?: number }): Promise<void> {
  await stage.replica(number).run(key, stage.load, options);
  await all((caller) => stage.replica(caller).run(key, stage.load, options));
}

async function runInvalidated(stage: Stage, _: string, number: number): Promise<void> {
  const key = nameOf(number);
  const before = stage.replica(number).run(key, stage.slowLoad);
  await stage.replica(number + 1).invalidate(key);
  await Promise.all([before, stage.replica(number + 1).run(key, stage.slowLoad)]);
}

async function runTagged(stage: Stage, key: string, number: number): Promise<void> {
  const options = { ttlMs: 1_000, tags: [nameOf(number)] };
  const before = stage.replica(number).run(key, stage.slowLoad, options);
  await stage.replica(number + 1).invalidateTag(nameOf(number));
  await Promise.all([before, stage.replica(number + 1).run(key, stage.slowLoad, options)]);
}

function runMany(stage: Stage, _: string, number: number): Promise<unknown> {
  const key = (each: number): readonly [string, number, number] => ['of many', number % 100, each];
  return all((caller) => stage.replica(caller).runMany([1, 2, 3, 4, 5, 6, 7, 8], stage.batchLoad, { key }));
}

function runFresh(stage: Stage, key: string): Promise<unknown> {
  return all((caller) => stage.replica(caller).run(key, stage.slowLoad, { freshness: caller % 2 === 0 ? 'strict' : 'confirmed' }));
}

async function runWatched(stage: Stage, key: string, number: number): Promise<void> {
  for await (const _ of stage.replica(number).watch(key, stage.load)) break;
}

function all(call: (caller: number) => Promise<unknown>): Promise<unknown> {
  return Promise.all(CALLERS.map(call));
}

/** It is wrong when the call does not fail. */
async function failing(call: Promise<unknown>): Promise<void> {
  const value = await call.catch(() => FAILED);
  if (value !== FAILED) throw new Error(`a call that should have failed had ${JSON.stringify(value)}`);
}

const FAILED = Symbol('failed');
