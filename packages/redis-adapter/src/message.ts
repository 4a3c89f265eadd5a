import type { Message, RejectReason } from '@oneflight/core';
import type { Frames } from './frames.js';

/**
 * Reads what arrived on a channel: a header line `version kind key …`, then the frame if the message carries one.
 * Anyone who may publish can write it, so whatever does not fit becomes a `rejected` message and nothing is thrown. Who
 * waits for an outcome that is refused is told to ask the server.
 *
 *     1 settled key token sequence,sequence\nframe
 *     1 woken key sequence,sequence\n
 *     1 invalidated key floor\n
 *     1 tag tag token\n
 *
 * A sequence is the part of an id after `#`; the part before is the inbox that the message arrived on. The server writes
 * the header, so only the frame can be signed: a forged header costs a claim, or a flight that is not shared.
 */
export function parseMessage(channel: string, data: Buffer, frames: Pick<Frames, 'open'>): readonly Message[] {
  const end = data.indexOf(NEWLINE);
  if (end === -1) return [rejected('malformed')];
  if (end > HEADER_BYTES_MAX) return [rejected('too_large')];
  const [version, kind, key = '', ...fields] = data.toString('latin1', 0, end).split(' ');
  if (version !== MESSAGE_VERSION) return [rejected(/^\d{1,3}$/.test(version ?? '') ? 'unknown_version' : 'malformed')];
  if (!KEY_HASH.test(key)) return [rejected('malformed')];
  const rest = data.subarray(end + 1);
  switch (kind) {
    case 'settled':
      return settled(channel, key, fields, rest, frames);
    case 'woken':
      return [woken(channel, key, fields, rest)];
    case 'invalidated':
      return [invalidated(key, fields, rest)];
    case 'tag':
      return [tagInvalidated(key, fields, rest)];
    default:
      return [rejected('malformed')];
  }
}

const MESSAGE_VERSION = '1';
const NEWLINE = 0x0a;
/** Room for about 50,000 ids of one replica that wait for one key. */
const HEADER_BYTES_MAX = 1_048_576;
const KEY_HASH = /^[\w.:-]{1,200}$/;
const SEQUENCES = /^[\w.:-]+(?:,[\w.:-]+)*$/;
/** Tokens are microseconds of the server's clock. One that is ahead by more would move every later token of its key there. */
const AHEAD_US_MAX = 30 * 86_400_000_000;

function settled(channel: string, key: string, fields: readonly string[], frame: Buffer, frames: Pick<Frames, 'open'>): readonly Message[] {
  const [token = '', sequences = '', ...others] = fields;
  if (others.length > 0 || !isToken(token) || !SEQUENCES.test(sequences)) return [rejected('malformed')];
  const [ids, fencingToken] = [idsOf(channel, sequences), Number(token)];
  const outcome = frames.open(frame, { key, token: fencingToken, min: 0 });
  if (outcome.kind === 'rejected') return [outcome, { kind: 'woken', key, ids }];
  return [{ kind: 'settled', key, ids, fencingToken, outcome }];
}

function woken(channel: string, key: string, fields: readonly string[], rest: Buffer): Message {
  const [sequences = '', ...others] = fields;
  if (others.length > 0 || rest.length > 0 || !SEQUENCES.test(sequences)) return rejected('malformed');
  return { kind: 'woken', key, ids: idsOf(channel, sequences) };
}

function invalidated(key: string, fields: readonly string[], rest: Buffer): Message {
  const floor = newsOf(fields, rest);
  return floor === undefined ? rejected('malformed') : { kind: 'invalidated', key, floor };
}

function tagInvalidated(tag: string, fields: readonly string[], rest: Buffer): Message {
  const token = newsOf(fields, rest);
  return token === undefined ? rejected('malformed') : { kind: 'tag-invalidated', tag, token };
}

/** The token of an invalidation, which is the only field and near the present. */
function newsOf(fields: readonly string[], rest: Buffer): number | undefined {
  const [token = '', ...others] = fields;
  if (others.length > 0 || rest.length > 0 || !isToken(token)) return undefined;
  return Number(token) > Date.now() * 1_000 + AHEAD_US_MAX ? undefined : Number(token);
}

function isToken(text: string): boolean {
  return /^[1-9]\d{0,15}$/.test(text) && Number.isSafeInteger(Number(text));
}

function idsOf(inbox: string, sequences: string): string[] {
  return sequences.split(',').map((sequence) => `${inbox}#${sequence}`);
}

function rejected(reason: RejectReason): Message {
  return { kind: 'rejected', reason };
}
