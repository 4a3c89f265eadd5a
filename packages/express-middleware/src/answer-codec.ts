import { validateHeaderName, validateHeaderValue } from 'node:http';

import { type Codec, PayloadError } from '@oneflight/core';

import { type Answer, type AnswerHeader, headerBytes, isOwn, LiveAnswer } from './answer.js';
import { TERM_MS_MAX, type Terms } from './cache/terms.js';
import { SHAREABLE_STATUSES } from './shareable.js';

export interface CodecOptions {
  /** The key that answers are for; one that says it is for another is refused. */
  readonly key: string;
  readonly bodyBytesMax: number;
  readonly headersBytesMax: number;
  /** Told about each answer that was refused. */
  readonly onRefused: () => void;
}

/**
 * How an answer travels: a format byte, the size of the head in four, the head as JSON, and the body as it is. What arrives
 * may be an enemy's: sizes are checked before anything is parsed, each field by itself, and every header as if it were to
 * be sent.
 */
export function answerCodec(options: CodecOptions): Codec<Answer | LiveAnswer | null> {
  return {
    encode: (answer) => encode(answer, options.key),
    decode(bytes) {
      try {
        return decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), options);
      } catch (error) {
        options.onRefused();
        throw error;
      }
    },
  };
}

const FORMAT = 1;
const PREFIX_BYTES = 5;
/** JSON needs up to six bytes for one of a header's; names of Vary and the rest come on top. */
const HEAD_BYTES_FACTOR = 6;
const HEAD_BYTES_EXTRA = 65_536;

function encode(answer: Answer | LiveAnswer | null, key: string): Uint8Array {
  if (answer === null || answer instanceof LiveAnswer)
    throw new PayloadError('an answer that is private, or not complete, does not travel');
  const { body, ...head } = answer;
  const text = Buffer.from(JSON.stringify({ ...head, key }));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt8(FORMAT, 0);
  prefix.writeUInt32LE(text.byteLength, 1);
  return Buffer.concat([prefix, text, body]);
}

function decode(bytes: Buffer, { key, bodyBytesMax, headersBytesMax }: CodecOptions): Answer {
  demand(bytes.byteLength >= PREFIX_BYTES && bytes.readUInt8(0) === FORMAT, 'its format');
  const headBytes = bytes.readUInt32LE(1);
  demand(headBytes <= headersBytesMax * HEAD_BYTES_FACTOR + HEAD_BYTES_EXTRA && PREFIX_BYTES + headBytes <= bytes.byteLength, 'its size');
  const body = bytes.subarray(PREFIX_BYTES + headBytes);
  demand(body.byteLength <= bodyBytesMax, 'the size of its body');
  const head = parse(bytes.toString('utf8', PREFIX_BYTES, PREFIX_BYTES + headBytes));
  demand(head['key'] === key, 'its key');
  const { status, message, headers, removed, length, vary, variant, ageMs, terms } = head;
  demand(typeof status === 'number' && SHAREABLE_STATUSES.has(status), 'its status');
  demand(message === undefined || (typeof message === 'string' && isValue(message)), 'its reason phrase');
  demand(isList(headers, isHeader) && headerBytes(headers) <= headersBytesMax, 'its headers');
  demand(isList(removed, isName) && isList(vary, isName) && typeof variant === 'string', 'what it varies on');
  demand(length === undefined || isLength(length), 'its length');
  demand(ageMs === undefined || isDuration(ageMs), 'its age');
  demand(terms === undefined || isTerms(terms), 'its terms');
  return {
    status,
    message,
    headers,
    removed,
    body,
    length,
    vary,
    variant,
    ...(ageMs !== undefined && { ageMs }),
    ...(terms !== undefined && { terms }),
  };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let head: unknown;
  try {
    head = JSON.parse(text);
  } catch {
    throw refused('its head');
  }
  demand(typeof head === 'object' && head !== null && !Array.isArray(head), 'its head');
  return { ...head };
}

function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw refused(what);
}

function refused(what: string): PayloadError {
  return new PayloadError(`an answer from another replica was refused: ${what} is not what this one would have sent`);
}

function isList<T>(value: unknown, isItem: (item: unknown) => item is T): value is readonly T[] {
  return Array.isArray(value) && value.every(isItem);
}

function isHeader(header: unknown): header is AnswerHeader {
  if (!isList(header, isAnything) || header.length !== 2) return false;
  const [name, value] = header;
  return isName(name) && !isOwn(name) && (typeof value === 'string' ? isValue(value) : isList(value, isText) && value.every(isValue));
}

function isAnything(_value: unknown): _value is unknown {
  return true;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isName(name: unknown): name is string {
  if (typeof name !== 'string' || name !== name.toLowerCase()) return false;
  try {
    validateHeaderName(name);
    return true;
  } catch {
    return false;
  }
}

function isValue(value: string): boolean {
  try {
    validateHeaderValue('x', value);
    return true;
  } catch {
    return false;
  }
}

function isTerms(terms: unknown): terms is Terms {
  if (typeof terms !== 'object' || terms === null) return false;
  const { ttlMs, staleWhileRevalidateMs, staleIfErrorMs, revalidateMs, ...flags }: Readonly<Record<string, unknown>> = { ...terms };
  return (
    [ttlMs, staleWhileRevalidateMs, staleIfErrorMs, revalidateMs].every(isDuration) &&
    FLAGS.every((flag) => typeof flags[flag] === 'boolean')
  );
}

const FLAGS = ['isStrict', 'wasAuthorized'];

function isDuration(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= TERM_MS_MAX;
}

function isLength(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
