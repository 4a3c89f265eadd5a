import type { LoadContext } from '../../src/index.js';

/** A loader whose runs a test ends one by one, by hand. */
export interface ManualLoader<T> {
  (context: LoadContext): Promise<T>;
  /** Every run so far, in the order in which they started. */
  readonly runs: Run<T>[];
}

export interface Run<T> {
  readonly context: LoadContext;
  end(value: T): void;
  fail(error: unknown): void;
}

/** Makes a loader that waits, at each run, for the test to end it. */
export function manualLoader<T = string>(): ManualLoader<T> {
  const runs: Run<T>[] = [];
  const loader = (context: LoadContext): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      runs.push({ context, end: resolve, fail: reject });
    });
  return Object.assign(loader, { runs });
}

/** What became of promises, without waiting for those that are still pending. */
export async function fates(promises: readonly Promise<unknown>[]): Promise<string[]> {
  const pending = Symbol('pending');
  return Promise.all(
    promises.map(async (promise) => {
      try {
        const value = await Promise.race([promise, Promise.resolve(pending)]);
        return value === pending ? 'pending' : `value ${String(value)}`;
      } catch (error) {
        return `error ${error instanceof Error ? (Reflect.get(error, 'code') ?? error.name) : String(error)}`;
      }
    }),
  );
}
