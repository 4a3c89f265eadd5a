import { EventEmitter } from 'node:events';

import type { Response } from 'express';

type Listener = (...args: unknown[]) => void;

/**
 * Tells a handler that waits for `drain` that there is room, although its own caller's connection may have none. Where
 * something outside (`compression()`) moves the listeners of a response elsewhere, they are remembered here.
 */
export class Drains {
  readonly #response: Response;
  readonly #on: Response['on'];
  readonly #moved: Set<Listener> | undefined;

  constructor(response: Response) {
    this.#response = response;
    this.#on = response.on;
    this.#moved = response.on === EventEmitter.prototype.on ? undefined : this.#remember(response);
  }

  /** Listens to the caller's own connection. */
  listen(onDrain: () => void): void {
    const isReal = (): boolean => this.#moved !== undefined || !this.#response.writableNeedDrain;
    const listener: Listener = () => {
      if (isReal()) onDrain();
    };
    Reflect.apply(this.#on, this.#response, ['drain', listener]);
  }

  tell(): void {
    if (this.#moved === undefined) this.#response.emit('drain');
    else for (const listener of this.#moved) Reflect.apply(listener, this.#response, []);
  }

  #remember(response: Response): Set<Listener> {
    const moved = new Set<Listener>();
    const { on, removeListener } = response;
    const add = (event: string | symbol, listener: Listener): Response => {
      if (event === 'drain') moved.add(listener);
      Reflect.apply(on, response, [event, listener]);
      return response;
    };
    const remove = (event: string | symbol, listener: Listener): Response => {
      if (event === 'drain') moved.delete(listener);
      Reflect.apply(removeListener, response, [event, listener]);
      return response;
    };
    Object.assign(response, { on: add, addListener: add, off: remove, removeListener: remove });
    return moved;
  }
}
