import type { Response } from 'express';

import { Drains } from './drains.js';
import type { Recorder } from './recorder.js';
import type { Shield } from './shield.js';

/**
 * What `write` does while others depend on the answer. Its own caller never slows the handler down: until the answer is too
 * large to be kept nobody does, then the fastest of those who get it does.
 */
export class SharedWriter {
  readonly #response: Response;
  readonly #recorder: Recorder;
  readonly #shield: Shield;
  readonly #write: Response['write'];
  readonly #drains: Drains;
  /** Callbacks of what was written while there was no room. */
  readonly #delayed: (() => void)[] = [];
  #isPaced = false;
  #hasOwnRoom = true;

  constructor(response: Response, recorder: Recorder, shield: Shield) {
    this.#response = response;
    this.#recorder = recorder;
    this.#shield = shield;
    this.#write = response.write;
    this.#drains = new Drains(response);
  }

  /** Takes what `response.write` takes, and returns what it returns: whether there is room for more. */
  write(args: readonly unknown[]): boolean {
    const [chunk, encoding] = args;
    const hasRoom = this.#pass(chunk, encoding);
    const callback = args.find((arg): arg is () => void => typeof arg === 'function');
    if (callback !== undefined && hasRoom) process.nextTick(callback);
    if (callback !== undefined && !hasRoom) this.#delayed.push(callback);
    return hasRoom;
  }

  #pass(chunk: unknown, encoding: unknown): boolean {
    const recorder = this.#recorder;
    if (!this.#response.headersSent) this.#response.writeHead(this.#response.statusCode);
    if (!this.#shield.isHolding && !recorder.body.isOwned && recorder.isKeeping) this.#own();
    const isPassedOn = recorder.addBody(chunk, encoding);
    this.#shield.noteProgress();
    if (!isPassedOn && !this.#shield.isHolding) this.#send(typeof encoding === 'string' ? [chunk, encoding] : [chunk]);
    if (recorder.isKeeping) return true; // bounded by bodyBytesMax
    if (!recorder.isFollowed) return this.#hasOwnRoom;
    this.#pace();
    return recorder.body.hasRoom;
  }

  /** Its caller is one of those who get the body as it is made, each at its own pace. */
  #own(): void {
    const owner = this.#recorder.body.own({
      write: (bytes) => this.#send([bytes]),
      flush: noop,
      end: noop,
      cut: () => this.#shield.cutCaller(),
    });
    this.#drains.listen(() => owner.drained());
  }

  #send(args: readonly unknown[]): boolean {
    this.#hasOwnRoom = Reflect.apply(this.#write, this.#response, args) === true;
    return this.#hasOwnRoom;
  }

  /** From now on the fastest of them says whether the handler may go on. */
  #pace(): void {
    if (this.#isPaced) return;
    this.#isPaced = true;
    this.#recorder.body.whenRoom(() => {
      for (const callback of this.#delayed.splice(0)) callback();
      this.#drains.tell();
    });
  }
}

function noop(): void {}
