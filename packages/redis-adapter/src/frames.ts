import { type FlightId, isTraceparent, type KeyHash, type Outcome } from '@oneflight/core';
import { compress, decompress, decompressLater, SYNC_BYTES_MAX } from './compression.js';
import { decodeFrame, encodeFrame, type Frame, FRAME_OVERHEAD_BYTES_MAX, type FrameKind, rejected, type RejectedFrame } from './frame.js';
import type { ResolvedOptions } from './options.js';
import { hasKeys, Signer } from './signing.js';

/**
 * Outcomes as they travel: compressed and signed where that is asked for on the way out; on the way in refused unless
 * they are what was asked for. Nothing is parsed, or decompressed, before its size and its signature were checked.
 */
export class Frames {
  readonly #payloadBytesMax: number;
  readonly #compressBytesMin: number;
  readonly #signer: Signer | undefined;

  constructor({ prefix, payloadBytesMax, compressBytesMin, secretKeys }: FrameOptions) {
    this.#payloadBytesMax = payloadBytesMax;
    this.#compressBytesMin = compressBytesMin;
    this.#signer = hasKeys(secretKeys) ? new Signer(secretKeys, prefix) : undefined;
  }

  /** Whether outcomes are signed. */
  get areSigned(): boolean {
    return this.#signer !== undefined;
  }

  /** The frame of an outcome; later where compressing it takes long. Undefined for what has no payload, or one above `payloadBytesMax`. */
  seal(outcome: Outcome, flight: Flight): SealedFrame | undefined | Promise<SealedFrame> {
    if (outcome.kind === 'unshareable') return undefined;
    const { kind, bytes } = outcome;
    if (bytes.byteLength > this.#payloadBytesMax) return undefined;
    // The frame has room for one that is valid, and for nothing else.
    const trace = isTraceparent(outcome.trace) ? outcome.trace : undefined;
    if (bytes.byteLength < this.#compressBytesMin) return this.#close(kind, trace, bytes, undefined, flight);
    const close = (shorter: Buffer | undefined): SealedFrame =>
      this.#close(kind, trace, shorter ?? bytes, shorter === undefined ? undefined : bytes.byteLength, flight);
    const shorter = compress(bytes);
    return shorter instanceof Promise ? shorter.then(close) : close(shorter);
  }

  /** The frame that says there is nothing to share, and why. */
  sealBare(why: 'untravelable' | 'private', flight: Flight): Buffer {
    return this.#close(why, undefined, NOTHING, undefined, flight).bytes;
  }

  /** Opens a frame that arrived in a message. What takes long to decompress is refused: it has to be fetched. */
  open(bytes: Buffer, asked: Asked): Outcome | RejectedFrame {
    const frame = this.#check(bytes, asked);
    if (frame.kind === 'rejected') return frame;
    if (frame.rawBytes === undefined) return outcomeOf(frame, frame.body);
    if (frame.rawBytes > SYNC_BYTES_MAX) return rejected('too_large');
    return outcomeOf(frame, decompress(frame.body, frame.rawBytes));
  }

  /** Opens a frame that was stored. */
  async openStored(bytes: Buffer, asked: Asked): Promise<Outcome | RejectedFrame> {
    const frame = this.#check(bytes, asked);
    if (frame.kind === 'rejected') return frame;
    if (frame.rawBytes === undefined) return outcomeOf(frame, frame.body);
    return outcomeOf(frame, await decompressLater(frame.body, frame.rawBytes));
  }

  #close(
    kind: FrameKind,
    trace: string | undefined,
    body: Uint8Array,
    rawBytes: number | undefined,
    { key, id, token, livesMs }: Flight,
  ): SealedFrame {
    const expiresAt = Date.now() + livesMs;
    const frame = encodeFrame({ kind, token, expiresAt, key, id, rawBytes, trace, body }, this.#signer !== undefined);
    return {
      bytes: this.#signer === undefined ? frame : Buffer.concat([frame, this.#signer.sign(frame)]),
      bodyBytes: body.byteLength,
      opensAtOnce: rawBytes === undefined || rawBytes <= SYNC_BYTES_MAX,
    };
  }

  #check(bytes: Buffer, { key, token, min }: Asked): Frame | RejectedFrame {
    if (bytes.length > this.#payloadBytesMax + FRAME_OVERHEAD_BYTES_MAX) return rejected('too_large');
    const frame = decodeFrame(bytes);
    if (frame.kind === 'rejected') return frame;
    if (this.#signer !== undefined) {
      if (frame.signature === undefined || !this.#signer.isGenuine(frame.covered, frame.signature)) return rejected('bad_signature');
      if (frame.expiresAt + CLOCKS_DIFFER_MS_MAX < Date.now()) return rejected('stale_token');
    }
    if (frame.key !== key) return rejected('key_mismatch');
    if (frame.token !== token || token < min) return rejected('stale_token');
    if ((frame.rawBytes ?? frame.body.byteLength) > this.#payloadBytesMax) return rejected('too_large');
    return frame;
  }
}

/** Whose outcome it is, and for how long it may be used. */
export interface Flight {
  readonly key: KeyHash;
  readonly id: FlightId;
  readonly token: number;
  readonly livesMs: number;
}

/** What an outcome has to be to be used: this key's, with the very token that it came under, not below `min`. */
export interface Asked {
  readonly key: KeyHash;
  readonly token: number;
  readonly min: number;
}

export interface SealedFrame {
  readonly bytes: Buffer;
  /** How many of them are the outcome's own. */
  readonly bodyBytes: number;
  /** Whether a receiver may open it while other messages wait. */
  readonly opensAtOnce: boolean;
}

export type FrameOptions = Pick<ResolvedOptions, 'prefix' | 'payloadBytesMax' | 'compressBytesMin' | 'secretKeys'>;

/** How far the clocks of two replicas may be apart before they refuse each other's signed outcomes. */
const CLOCKS_DIFFER_MS_MAX = 30_000;
const NOTHING = new Uint8Array(0);

function outcomeOf({ kind, trace }: Frame, bytes: Uint8Array | undefined): Outcome | RejectedFrame {
  if (kind === 'untravelable' || kind === 'private') return { kind: 'unshareable', why: kind };
  if (bytes === undefined) return rejected('malformed');
  return trace === undefined ? { kind, bytes } : { kind, bytes, trace };
}
