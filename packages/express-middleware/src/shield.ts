import { Readable } from 'node:stream';

import type { Response } from 'express';

import type { Recorder } from './recorder.js';

/**
 * Keeps from the handler that its caller has left, for as long as others wait for the answer: `pipe`, `pipeline` and
 * `sendFile` stop at a closed response, and everybody would get nothing. Once nobody waits the handler is told.
 */
export class Shield {
  readonly #response: Response;
  readonly #recorder: Recorder;
  readonly #onLeft: () => void;
  readonly #emit: Response['emit'];
  readonly #sources = new Set<unknown>();
  #stall: NodeJS.Timeout | undefined;
  #isHolding = false;

  /** @param onLeft Called when the caller has left and the handler is not told. */
  constructor(response: Response, recorder: Recorder, onLeft: () => void) {
    this.#response = response;
    this.#recorder = recorder;
    this.#onLeft = onLeft;
    this.#emit = response.emit;
    response.emit = (event: string | symbol, ...args: unknown[]) => {
      if (event === 'pipe') this.#sources.add(args[0]);
      if (event === 'unpipe') this.#sources.delete(args[0]);
      if (event === 'close' && recorder.isKeeping && !response.writableEnded) {
        this.#hold();
        return true;
      }
      return Reflect.apply(this.#emit, response, [event, ...args]);
    };
  }

  /** Whether the caller has left and the handler does not know. */
  get isHolding(): boolean {
    return this.#isHolding;
  }

  /** The handler wrote something although its caller has left. */
  noteProgress(): void {
    if (this.#isHolding) this.#stall?.refresh();
    if (this.#isHolding && this.#stall === undefined) this.#watchForStall();
  }

  /** From here on the response may show that its caller has left. */
  beforeEnd(): void {
    if (this.#isHolding) this.#response.destroyed = true;
  }

  /** Nobody waits for the answer any more: tells the handler what was kept from it. */
  letGo(): void {
    clearTimeout(this.#stall);
    if (!this.#isHolding) return;
    this.#isHolding = false;
    this.#response.destroyed = true;
    Reflect.set(this.#response, '_closed', true);
    Reflect.apply(this.#emit, this.#response, ['close']);
  }

  #hold(): void {
    const response = this.#response;
    this.#isHolding = true;
    // Node has marked the response just before; without a socket it looks like one whose turn on the connection is yet to come.
    response.destroyed = false;
    Reflect.set(response, '_closed', false);
    if (response.socket !== null) response.detachSocket(response.socket);
    this.#onLeft();
    if (!this.#isHolding) return; // nobody else waits
    setImmediate(() => this.#cutIfSourceStopped());
    if (response.headersSent) this.#watchForStall();
  }

  /** Who watches the socket itself (`sendFile` does) has stopped reading: the rest will never come. */
  #cutIfSourceStopped(): void {
    const hasStopped = [...this.#sources].some((source) => source instanceof Readable && source.destroyed && !source.readableEnded);
    if (this.#isHolding && hasStopped) this.#recorder.cut('the connection closed in the middle of the answer');
  }

  #watchForStall(): void {
    this.#stall = setTimeout(() => this.#recorder.cut('the connection closed and nothing more was written'), STALL_MS);
    this.#stall.unref();
  }
}

/** A handler that has begun its answer and writes nothing for this long after its caller left has stopped. */
const STALL_MS = 1_000;
