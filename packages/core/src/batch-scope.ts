import { AsyncLocalStorage } from 'node:async_hooks';
import type { FlightId } from './coordinator.js';
import type { CanonicalKey } from './key.js';

/** What calls made inside a batch loader must know: whose batch it is, and the flights that wait for it. */
export interface BatchScope {
  readonly collapser: object;
  readonly flights: ReadonlyMap<CanonicalKey, FlightId>;
}

interface Frame {
  readonly scope: BatchScope;
  readonly outer: Frame | undefined;
  isRunning: boolean;
}

/** Of the whole process: batches of two collapsers can wait for each other as well as those of one. */
const frames = new AsyncLocalStorage<Frame>();
/** Calls ask on their fastest path; as long as no batch loads anywhere the answer is known. */
let running = 0;

/** Runs a batch loader so that calls from inside, across awaits, are known as such until it has ended. */
export async function insideBatch<R>(scope: BatchScope, loader: () => R | PromiseLike<R>): Promise<R> {
  const frame: Frame = { scope, outer: frames.getStore(), isRunning: true };
  running++;
  try {
    return await frames.run(frame, loader);
  } finally {
    running--;
    frame.isRunning = false;
  }
}

/** Whether the present call comes from a batch loader that has not ended. */
export function isInsideBatch(): boolean {
  return find(() => true) !== undefined;
}

/** The flight of a key that waits for the batch loader which the present call comes from. */
export function flightAroundBatch(collapser: object, key: CanonicalKey): FlightId | undefined {
  return find(({ scope }) => scope.collapser === collapser && scope.flights.has(key))?.scope.flights.get(key);
}

function find(fits: (frame: Frame) => boolean): Frame | undefined {
  if (running === 0) return undefined;
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.outer) {
    if (frame.isRunning && fits(frame)) return frame;
  }
  return undefined;
}
