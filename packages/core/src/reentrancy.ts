import { AsyncLocalStorage } from 'node:async_hooks';

/** What a loader's call knows about itself: whose load it belongs to, and the load around that. */
interface Frame {
  readonly load: object;
  readonly outer: Frame | undefined;
}

/** One for all collapsers: Node keeps each storage that was ever used enabled, and every promise pays for each of them. */
const frames = new AsyncLocalStorage<Frame>();

/** Runs a loader as part of a load, so that calls from inside it, also after awaits, can be told. */
export function runInside<R>(load: object, loader: () => R): R {
  return frames.run({ load, outer: frames.getStore() }, loader);
}

/** Whether the present call comes from inside any load: a cheap question before the exact one. */
export function isInsideLoad(): boolean {
  return frames.getStore() !== undefined;
}

/** The innermost of the loads around the present call that fits. */
export function findAround<L extends object>(fits: (load: object) => load is L): L | undefined {
  for (let frame = frames.getStore(); frame !== undefined; frame = frame.outer) {
    if (fits(frame.load)) return frame.load;
  }
  return undefined;
}
