/** Where one reader's bytes go. */
export interface BodySink {
  /** Returns whether there is room for more; `Reader.drained` says when there is again. */
  write(bytes: Uint8Array): boolean;
  /** What was written is to be sent now: something on the way (`compression()`) may be collecting it. */
  flush(): void;
  end(): void;
  /** It gets no more than it has, and must not take that for the whole. */
  cut(): void;
}

export interface BodyOptions {
  /** While it is kept whole nothing is dropped; then a reader may be this far behind. In bytes, and for a moment twice that. */
  readonly bytesMax: number;
  /** Told how many bytes more, or less, are held; returns whether all that are held here together are too many. */
  readonly onHeld: (difference: number) => boolean;
  /** The last of those who follow has left, or has it all. */
  readonly onAlone: () => void;
}

interface Link {
  readonly bytes: Buffer;
  next: Link | undefined;
}

/** How long one reader may hold up the others, in all, before it is cut. */
const PATIENCE_MS = 250;

/**
 * The body of an answer while it is made. Kept whole at first: for other replicas, and for those who come late. Once it is
 * narrowed, only what the slowest of those who read it here has yet to get is held, and who falls too far behind is cut,
 * so that nobody waits for long for anybody. Links hold on to what comes after them: what no reader needs is gone by itself.
 */
export class Body {
  readonly #options: BodyOptions;
  readonly #readers = new Set<Reader>();
  /** The start, while it is kept whole. */
  #first: Link | undefined;
  #last: Link = { bytes: Buffer.alloc(0), next: undefined };
  #bytes = 0;
  #held = 0;
  #owner: Reader | undefined;
  #wasFull = false;
  #cameLast = 0;
  /** Who is too far behind, and the little time that it has to catch up. */
  #awaited: { readonly reader: Reader; readonly since: number; readonly timer: NodeJS.Timeout } | undefined;
  #onRoom: (() => void) | undefined;

  constructor(options: BodyOptions) {
    this.#options = options;
    this.#first = this.#last;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isWhole(): boolean {
    return this.#first !== undefined;
  }

  /** Whether somebody besides the caller whose handler makes it reads it. */
  get isFollowed(): boolean {
    return this.#readers.size > (this.#owner === undefined ? 0 : 1);
  }

  /** Whether one of its readers could take more now: the fastest one sets the pace. */
  get hasRoom(): boolean {
    if (this.#awaited !== undefined) return false;
    for (const reader of this.#readers) if (!reader.isBlocked) return true;
    return this.#readers.size === 0;
  }

  /** Takes bytes that nobody changes any more. Returns whether all that are held in this process are too many. */
  add(bytes: Buffer): boolean {
    const link: Link = { bytes, next: undefined };
    this.#last.next = link;
    this.#last = link;
    this.#bytes += bytes.byteLength;
    for (const reader of this.#readers) reader.pump();
    const isTooMuch = this.#hold();
    this.#cameLast = bytes.byteLength;
    this.#cutTheSlow();
    this.#wasFull = !this.hasRoom;
    return isTooMuch;
  }

  /** All of it. Empty once it is not kept whole any more. */
  whole(): Buffer {
    const chunks: Buffer[] = [];
    for (let link = this.#first?.next; link !== undefined; link = link.next) chunks.push(link.bytes);
    return chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
  }

  /** One more reader, from the start; undefined where there is no start any more. */
  read(sink: BodySink): Reader | undefined {
    return this.#first === undefined ? undefined : this.#join(this.#first, 0, sink);
  }

  /** From now on only what its readers still need is held. */
  narrow(): void {
    this.#first = undefined;
    this.#hold();
  }

  /** `onRoom` is called when there is room again after there was none. */
  whenRoom(onRoom: () => void): void {
    this.#onRoom = onRoom;
  }

  /** From now on the caller whose handler makes it gets it as the others do. It has all there is until now. */
  own(sink: BodySink): Reader {
    this.#owner = this.#join(this.#last, this.#bytes, sink);
    return this.#owner;
  }

  /** Its end: each gets the rest at once, which the sinks then hold as they hold any answer that was sent. */
  end(): void {
    this.#endAll((reader) => reader.finish());
  }

  /** Those who have all there is send it now. */
  flush(): void {
    for (const reader of this.#readers) if (reader.position === this.#bytes) reader.sink.flush();
  }

  /** The caller whose handler makes it gets all there is. */
  flushOwner(): void {
    this.#owner?.flush();
  }

  /** The caller whose handler makes it has left. */
  ownerLeft(): void {
    this.#owner?.leave();
  }

  /** There is no more of it for others. The caller whose handler makes it gets what comes by itself from now on. */
  cut(): void {
    const owner = this.#owner;
    this.#endAll((reader) => (reader === owner ? reader.flush() : reader.sink.cut()));
  }

  /** A reader has left. */
  leave(reader: Reader): void {
    if (!this.#readers.delete(reader)) return;
    if (reader === this.#owner) this.#owner = undefined;
    if (!this.isFollowed) this.#disown();
    this.#hold();
    if (reader === this.#awaited?.reader) this.#cutTheSlow();
    if (!this.isFollowed) this.#options.onAlone();
    this.#noteRoom();
  }

  /** A reader has got more. */
  advanced(reader: Reader): void {
    this.#hold();
    if (reader === this.#awaited?.reader) this.#cutTheSlow();
    this.#noteRoom();
  }

  /** Whether the caller whose handler makes it gets it as the others do. */
  get isOwned(): boolean {
    return this.#owner !== undefined;
  }

  /** The caller whose handler makes it gets all there is, and from now on what comes by itself. */
  #disown(): void {
    const owner = this.#owner;
    this.#owner = undefined;
    if (owner === undefined) return;
    this.#readers.delete(owner);
    owner.flush();
  }

  #noteRoom(): void {
    if (!this.#wasFull || !this.hasRoom) return;
    this.#wasFull = false;
    this.#onRoom?.();
  }

  #join(at: Link, position: number, sink: BodySink): Reader {
    const reader = new Reader(this, sink, at, position);
    this.#readers.add(reader);
    return reader;
  }

  #endAll(how: (reader: Reader) => void): void {
    const readers = [...this.#readers];
    const wasFollowed = this.isFollowed;
    this.#readers.clear();
    this.#owner = undefined;
    this.#first = undefined;
    this.#stopWaiting();
    this.#hold();
    for (const reader of readers) how(reader);
    if (wasFollowed) this.#options.onAlone();
  }

  #hold(): boolean {
    const held = this.isWhole ? this.#bytes : this.#bytes - this.#slowest().position;
    const difference = held - this.#held;
    this.#held = held;
    return this.#options.onHeld(difference);
  }

  /**
   * Cuts who is too far behind. Each gets a moment to catch up, once in all: a buffer somewhere may have filled in one go.
   * The bytes that came last do not count, as nobody could have taken them before.
   */
  #cutTheSlow(): void {
    while (!this.isWhole && this.isFollowed) {
      const { reader, position } = this.#slowest();
      const behind = this.#bytes - this.#cameLast - position;
      const isTooMuch = behind > 0 && this.#options.onHeld(0);
      if (reader === undefined || !(behind > this.#options.bytesMax || isTooMuch)) break;
      if (reader.patienceMs > 0 && !isTooMuch && behind <= 2 * this.#options.bytesMax) return this.#waitFor(reader);
      reader.sink.cut();
      this.leave(reader);
    }
    this.#stopWaiting();
  }

  #waitFor(reader: Reader): void {
    if (this.#awaited?.reader === reader) return;
    this.#stopWaiting();
    const timer = setTimeout(() => {
      this.#stopWaiting();
      reader.patienceMs = 0;
      this.#cutTheSlow();
      this.#noteRoom();
    }, reader.patienceMs);
    this.#awaited = { reader, since: performance.now(), timer };
  }

  #stopWaiting(): void {
    if (this.#awaited === undefined) return;
    const { reader, since, timer } = this.#awaited;
    clearTimeout(timer);
    reader.patienceMs -= performance.now() - since;
    this.#awaited = undefined;
  }

  #slowest(): { readonly reader: Reader | undefined; readonly position: number } {
    let slowest: Reader | undefined;
    for (const reader of this.#readers) if (slowest === undefined || reader.position < slowest.position) slowest = reader;
    return { reader: slowest, position: slowest?.position ?? this.#bytes };
  }
}

/** One who reads a body at its own pace. */
export class Reader {
  readonly sink: BodySink;
  readonly #body: Body;
  #at: Link;
  /** How many bytes it was given. */
  position: number;
  isBlocked = false;
  /** How long the others may still be held up for it, in milliseconds. */
  patienceMs = PATIENCE_MS;

  constructor(body: Body, sink: BodySink, at: Link, position: number) {
    this.#body = body;
    this.sink = sink;
    this.#at = at;
    this.position = position;
  }

  /** Passes on what there is, for as long as there is room. */
  pump(): void {
    while (!this.isBlocked && this.#at.next !== undefined) this.isBlocked = !this.#pass(this.#at.next);
  }

  /** There is room again. */
  drained(): void {
    this.isBlocked = false;
    this.pump();
    this.#body.advanced(this);
  }

  /** Passes on all there is, room or not, and ends. */
  finish(): void {
    this.flush();
    this.sink.end();
  }

  flush(): void {
    while (this.#at.next !== undefined) this.#pass(this.#at.next);
  }

  leave(): void {
    this.#body.leave(this);
  }

  #pass(link: Link): boolean {
    this.#at = link;
    this.position += link.bytes.byteLength;
    return this.sink.write(link.bytes);
  }
}
