import type { RejectReason } from '@oneflight/core';

/**
 * An outcome with all that is needed to tell whether it is the one that was asked for, as it is stored and published.
 * Numbers are big-endian:
 *
 *     u8 version | u8 kind and flags | u64 token | u48 expiry | u8 length, key | u8 length, id | [25 bytes trace] | [u32 raw size] | body | [32 bytes signature]
 *
 * The trace is there when the load was traced: 16 bytes trace id, 8 bytes span id, 1 byte flags. The raw size is there when
 * the body is compressed. The signature is over everything before it.
 */
export interface Frame {
  readonly kind: FrameKind;
  readonly token: number;
  /** Milliseconds since 1970 by the clock of the process that settled; only a signed one means anything. */
  readonly expiresAt: number;
  readonly key: string;
  readonly id: string;
  /** How many bytes a compressed body had before; absent where it is not compressed. */
  readonly rawBytes: number | undefined;
  /** The span of the load, a W3C traceparent; absent where the load was not traced. */
  readonly trace?: string | undefined;
  readonly body: Uint8Array;
}

/** Writes a frame. One that is to be signed is short of its signature. */
export function encodeFrame(frame: Frame, isSigned: boolean): Buffer {
  const { kind, token, expiresAt, key, id, rawBytes, trace, body } = frame;
  const traceBytes = trace === undefined ? 0 : TRACE_BYTES;
  const headBytes = FIXED_BYTES + 2 + key.length + id.length + traceBytes + (rawBytes === undefined ? 0 : RAW_SIZE_BYTES);
  const bytes = Buffer.allocUnsafe(headBytes + body.length);
  bytes[0] = FRAME_VERSION;
  bytes[1] =
    (KINDS.indexOf(kind) + 1) | (trace === undefined ? 0 : TRACED) | (rawBytes === undefined ? 0 : COMPRESSED) | (isSigned ? SIGNED : 0);
  bytes.writeUInt32BE(Math.floor(token / U32), 2);
  bytes.writeUInt32BE(token % U32, 6);
  bytes.writeUIntBE(expiresAt, 10, 6);
  let at = writeText(bytes, key, FIXED_BYTES);
  at = writeText(bytes, id, at);
  if (trace !== undefined) at += writeTrace(bytes, trace, at);
  if (rawBytes !== undefined) at = bytes.writeUInt32BE(rawBytes, at);
  bytes.set(body, at);
  return bytes;
}

/** Takes a frame apart that may come from another version or from an enemy. Nothing in it is true yet but its shape. */
export function decodeFrame(bytes: Buffer): ReceivedFrame | RejectedFrame {
  if (bytes.length < 2) return rejected('malformed');
  const [version, tag = 0] = bytes;
  if (version !== FRAME_VERSION) return rejected('unknown_version');
  const kind = KINDS[(tag & ~(TRACED | COMPRESSED | SIGNED)) - 1];
  const end = (tag & SIGNED) === 0 ? bytes.length : bytes.length - SIGNATURE_BYTES;
  if (kind === undefined || end < FIXED_BYTES + 2) return rejected('malformed');
  const keyEnd = textEnd(bytes, FIXED_BYTES);
  const idEnd = textEnd(bytes, keyEnd);
  const traceEnd = (tag & TRACED) === 0 ? idEnd : idEnd + TRACE_BYTES;
  const start = (tag & COMPRESSED) === 0 ? traceEnd : traceEnd + RAW_SIZE_BYTES;
  const token = bytes.readUInt32BE(2) * U32 + bytes.readUInt32BE(6);
  if (start > end || token > Number.MAX_SAFE_INTEGER) return rejected('malformed');
  if (isBare(kind) && idEnd !== end) return rejected('malformed');
  return {
    kind,
    token,
    expiresAt: bytes.readUIntBE(10, 6),
    key: bytes.toString('latin1', FIXED_BYTES + 1, keyEnd),
    id: bytes.toString('latin1', keyEnd + 1, idEnd),
    rawBytes: start === traceEnd ? undefined : bytes.readUInt32BE(traceEnd),
    trace: traceEnd === idEnd ? undefined : readTrace(bytes, idEnd),
    body: bytes.subarray(start, end),
    covered: bytes.subarray(0, end),
    signature: end === bytes.length ? undefined : bytes.subarray(end),
  };
}

export type FrameKind = (typeof KINDS)[number];

/** A frame as it arrived. */
export interface ReceivedFrame extends Frame {
  /** What a signature is over. */
  readonly covered: Buffer;
  readonly signature: Buffer | undefined;
}

/** Bytes that are no frame of ours, or not the one that was asked for, and why. */
export interface RejectedFrame {
  readonly kind: 'rejected';
  readonly reason: RejectReason;
}

/** Why a frame is not used. */
export function rejected(reason: RejectReason): RejectedFrame {
  return { kind: 'rejected', reason };
}

/** More than head, trace, raw size and signature ever take. */
export const FRAME_OVERHEAD_BYTES_MAX = 1_024;

/** The position, from 1, is the number on the wire: only append. */
const KINDS = ['value', 'error', 'untravelable', 'private'] as const;
const FRAME_VERSION = 2;
const TRACED = 0x20;
const COMPRESSED = 0x40;
const SIGNED = 0x80;
const FIXED_BYTES = 16;
const U32 = 4_294_967_296;
const TRACE_BYTES = 25;
const RAW_SIZE_BYTES = 4;
const SIGNATURE_BYTES = 32;
const TEXT_LENGTH_MAX = 255;

function writeText(bytes: Buffer, text: string, at: number): number {
  if (text.length > TEXT_LENGTH_MAX) throw new RangeError(`expected a key hash and an id of at most ${TEXT_LENGTH_MAX} characters`);
  bytes[at] = text.length;
  return at + 1 + bytes.write(text, at + 1, 'latin1');
}

/** Where a text ends, which may be behind the end of the bytes. */
function textEnd(bytes: Buffer, at: number): number {
  return at + 1 + (bytes[at] ?? 0);
}

/** Writes the ids and the flags of a traceparent, which fill 25 bytes, and returns how many were written. */
function writeTrace(bytes: Buffer, trace: string, at: number): number {
  return bytes.write(trace.slice(3).replaceAll('-', ''), at, TRACE_BYTES, 'hex');
}

function readTrace(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + TRACE_BYTES);
  return `00-${hex.slice(0, 32)}-${hex.slice(32, 48)}-${hex.slice(48)}`;
}

/** Whether there is nothing to share, and so no body. */
function isBare(kind: FrameKind): boolean {
  return kind === 'untravelable' || kind === 'private';
}
