import type { Outcome, RejectReason } from '@oneflight/core';

/**
 * An outcome in the form in which it is stored and published: a version byte, a kind byte, the bytes.
 */
export function encodeFrame(outcome: Outcome): Buffer {
  switch (outcome.kind) {
    case 'value':
      return Buffer.concat([VALUE, outcome.bytes]);
    case 'error':
      return Buffer.concat([ERROR, outcome.bytes]);
    case 'unshareable':
      return outcome.why === 'private' ? PRIVATE : UNTRAVELABLE;
  }
}

/** Reads a frame that may come from another version or from an enemy: version, kind and size are checked before use. */
export function decodeFrame(frame: Buffer, payloadBytesMax: number): Outcome | RejectedFrame {
  if (frame.length < HEAD_BYTES) return rejected('malformed');
  if (frame[0] !== FRAME_VERSION) return rejected('unknown_version');
  if (frame.length - HEAD_BYTES > payloadBytesMax) return rejected('too_large');
  const bytes = frame.subarray(HEAD_BYTES);
  switch (frame[1]) {
    case VALUE[1]:
      return { kind: 'value', bytes };
    case ERROR[1]:
      return { kind: 'error', bytes };
    case UNTRAVELABLE[1]:
      return bytes.length === 0 ? { kind: 'unshareable', why: 'untravelable' } : rejected('malformed');
    case PRIVATE[1]:
      return bytes.length === 0 ? { kind: 'unshareable', why: 'private' } : rejected('malformed');
    default:
      return rejected('malformed');
  }
}

/** Bytes that are no frame of ours, and why. */
export interface RejectedFrame {
  readonly kind: 'rejected';
  readonly reason: RejectReason;
}

const FRAME_VERSION = 1;
const HEAD_BYTES = 2;
const VALUE = Buffer.from([FRAME_VERSION, 1]);
const ERROR = Buffer.from([FRAME_VERSION, 2]);
const UNTRAVELABLE = Buffer.from([FRAME_VERSION, 3]);
const PRIVATE = Buffer.from([FRAME_VERSION, 4]);

function rejected(reason: RejectReason): RejectedFrame {
  return { kind: 'rejected', reason };
}
