/** Cuts a stream of RESP2 or RESP3 into whole frames, which keep their bytes. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);

  /** The frames that are complete now, in order. */
  push(chunk: Buffer): Buffer[] {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const frames: Buffer[] = [];
    let at = 0;
    for (;;) {
      const end = frameEnd(this.#held, at);
      if (end === INCOMPLETE) break;
      frames.push(this.#held.subarray(at, end));
      at = end;
    }
    this.#held = this.#held.subarray(at);
    return frames;
  }
}

/** The strings directly inside an array or a push, as they are in commands and messages. */
export function stringsOf(frame: Buffer): Buffer[] {
  const strings: Buffer[] = [];
  let at = lineEnd(frame, 0);
  while (at < frame.length && at !== INCOMPLETE) {
    const end = frameEnd(frame, at);
    if (frame[at] === BULK) strings.push(frame.subarray(lineEnd(frame, at), end - 2));
    at = end;
  }
  return strings;
}

const INCOMPLETE = -1;
const BULK = 0x24;

/** Where the frame that begins at `at` ends; INCOMPLETE if the rest has not arrived. */
function frameEnd(bytes: Buffer, at: number): number {
  const head = lineEnd(bytes, at);
  if (head === INCOMPLETE) return INCOMPLETE;
  const type = String.fromCharCode(bytes[at] ?? 0);
  const count = '$!=*~>%|'.includes(type) ? Number(bytes.toString('latin1', at + 1, head - 2)) : 0;
  switch (type) {
    case '$':
    case '!':
    case '=':
      if (count < 0) return head;
      return head + count + 2 <= bytes.length ? head + count + 2 : INCOMPLETE;
    case '*':
    case '~':
    case '>':
      return itemsEnd(bytes, head, count);
    case '%':
      return itemsEnd(bytes, head, 2 * count);
    case '|':
      // Attributes stand in front of what they belong to.
      return itemsEnd(bytes, head, 2 * count + 1);
    default:
      return head;
  }
}

function itemsEnd(bytes: Buffer, start: number, count: number): number {
  let at = start;
  for (let item = 0; item < count && at !== INCOMPLETE; item++) at = frameEnd(bytes, at);
  return at;
}

function lineEnd(bytes: Buffer, at: number): number {
  const end = bytes.indexOf('\r\n', at);
  return end === INCOMPLETE ? INCOMPLETE : end + 2;
}
