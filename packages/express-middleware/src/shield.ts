import type { Socket } from 'node:net';
import { Readable } from 'node:stream';

import type { Request, Response } from 'express';

import type { Recorder } from './recorder.js';

export interface ShieldOptions {
  readonly request: Request;
  readonly response: Response;
  readonly recorder: Recorder;
  /** Called when the caller has left and the handler is not told. */
  readonly onLeft: () => void;
}

/**
 * Keeps from the handler that its caller has left, for as long as others wait for the answer or get it as it is made:
 * `pipe`, `pipeline` and `sendFile` stop at a closed response, and everybody would get nothing. Once nobody does the handler
 * is told.
 */
export class Shield {
  readonly #given: ShieldOptions;
  readonly #emit: Response['emit'];
  readonly #emitOnRequest: Request['emit'];
  readonly #sources = new Set<unknown>();
  /** What the request was not allowed to say yet. */
  readonly #held: string[] = [];
  #stall: NodeJS.Timeout | undefined;
  #progressAt = 0;
  #isHolding = false;
  #isCut = false;

  constructor(given: ShieldOptions) {
    const { request, response } = given;
    this.#given = given;
    this.#emit = response.emit;
    this.#emitOnRequest = request.emit;
    response.emit = (event: string | symbol, ...args: unknown[]) => {
      if (event === 'pipe') this.#sources.add(args[0]);
      if (event === 'unpipe') this.#sources.delete(args[0]);
      if (event === 'close' && this.#mayHold() && !this.#cutWhereGivenUp()) {
        this.#hold();
        return true;
      }
      return Reflect.apply(this.#emit, response, [event, ...args]);
    };
    request.emit = (event: string | symbol, ...args: unknown[]) => {
      const isAboutLeaving = (event === 'aborted' || event === 'close') && request.socket.destroyed;
      if (isAboutLeaving && this.#mayHold() && this.#hasCallerLeft(request.socket)) return this.#held.push(event) > 0;
      return Reflect.apply(this.#emitOnRequest, request, [event, ...args]);
    };
  }

  /** Whether the caller has left and the handler does not know. */
  get isHolding(): boolean {
    return this.#isHolding;
  }

  /** The caller is so slow that its connection is closed, which is no reason to stop for the others. */
  cutCaller(): void {
    this.#isCut = true;
    this.#given.response.socket?.destroy();
  }

  /** The handler wrote something although its caller has left. */
  noteProgress(): void {
    if (!this.#isHolding) return;
    this.#progressAt = performance.now();
    if (this.#stall === undefined) this.#watchForStall();
    else this.#stall.refresh();
  }

  /** From here on the response may show that its caller has left. */
  beforeEnd(): void {
    if (this.#isHolding) this.#given.response.destroyed = true;
  }

  /** Nobody waits for the answer any more: tells the handler what was kept from it. */
  letGo(): void {
    clearTimeout(this.#stall);
    if (!this.#isHolding) return;
    const { request, response } = this.#given;
    this.#isHolding = false;
    response.destroyed = true;
    Reflect.set(response, '_closed', true);
    for (const event of this.#held.splice(0)) Reflect.apply(this.#emitOnRequest, request, [event]);
    Reflect.apply(this.#emit, response, ['close']);
  }

  #mayHold(): boolean {
    const { recorder, response } = this.#given;
    return (recorder.isKeeping || recorder.isFollowed) && !response.writableEnded;
  }

  /** Closed by the client's end or by a broken connection, and not by this process. */
  #hasCallerLeft(socket: Socket): boolean {
    return this.#isCut || socket.readableEnded || socket.errored !== null;
  }

  /** A connection that this process closed: Express does that when a handler fails after its head was sent. */
  #cutWhereGivenUp(): boolean {
    const { recorder, request } = this.#given;
    if (this.#hasCallerLeft(request.socket)) return false;
    recorder.cut('the connection was closed by the application in the middle of the answer');
    return true;
  }

  #hold(): void {
    const { request, response, recorder, onLeft } = this.#given;
    this.#isHolding = true;
    // Node has marked the response just before; without a socket it looks like one whose turn on the connection is yet to come.
    response.destroyed = false;
    Reflect.set(response, '_closed', false);
    if (response.socket !== null) response.detachSocket(response.socket);
    // The one thing that Express still does when the handler fails now.
    request.socket.destroy = () => {
      recorder.cut('the application gave the answer up');
      return request.socket;
    };
    recorder.body.ownerLeft();
    onLeft();
    if (!this.#isHolding) return; // nobody else waits
    setImmediate(() => this.#cutIfSourceStopped());
    if (response.headersSent) this.#watchForStall();
  }

  /** Who watches the socket itself (`sendFile` does) has stopped reading: the rest will never come. */
  #cutIfSourceStopped(): void {
    const hasStopped = [...this.#sources].some((source) => source instanceof Readable && source.destroyed && !source.readableEnded);
    if (this.#isHolding && hasStopped) this.#given.recorder.cut('the connection closed in the middle of the answer');
  }

  #watchForStall(): void {
    this.#progressAt = performance.now();
    this.#stall = setTimeout(() => this.#ring(), STALL_MS);
    this.#stall.unref();
  }

  #ring(): void {
    const { recorder } = this.#given;
    const what = 'the connection closed and nothing more was written';
    recorder.abandon(what);
    if (recorder.isFollowed && performance.now() - this.#progressAt < FOLLOWED_STALL_MS) this.#stall?.refresh();
    else recorder.cut(what);
  }
}

/**
 * A handler that has begun its answer and writes nothing for this long after its caller left has stopped: somebody else takes
 * over. Those who have a part of the answer already have nothing else to turn to, so they wait longer for the rest.
 */
const STALL_MS = 1_000;
const FOLLOWED_STALL_MS = 30_000;
