import { AsyncLocalStorage } from 'node:async_hooks';

/** What a loader's call knows about itself: the load it belongs to, and the load around that. */
interface Frame<L> {
  readonly load: L;
  readonly outer: Frame<L> | undefined;
}

/** Knows from inside which loads a call was made, across awaits. */
export class LoadStack<L> {
  readonly #frames = new AsyncLocalStorage<Frame<L>>();

  /** Runs a loader as part of a load. */
  run<R>(load: L, loader: () => R): R {
    return this.#frames.run({ load, outer: this.#frames.getStore() }, loader);
  }

  /** The innermost load around the present call that fits. */
  find(fits: (load: L) => boolean): L | undefined {
    for (let frame = this.#frames.getStore(); frame !== undefined; frame = frame.outer) {
      if (fits(frame.load)) return frame.load;
    }
    return undefined;
  }
}
