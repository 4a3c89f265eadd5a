import type { Claim, Renewal, Settlement, StoredLifetimes } from '@oneflight/core';
import { protocolError } from './failures.js';

/** The answer of claim.lua; a stored outcome is still in its frame. Throws CoordinatorError `protocol` for any other shape. */
export function readClaim(reply: unknown): ClaimReply {
  const items = itemsOf(reply, 'claim.lua');
  const tag = text(items[0]);
  switch (tag) {
    case 'lead':
      return readLead(items);
    case 'follow':
      return {
        role: 'follower',
        min: integer(items[1]),
        floor: integer(items[2]),
        leaseLeftMs: integer(items[3]),
        flightId: text(items[4]),
      };
    case 'settled':
      return readSettled(items);
    case 'cached':
    case 'stale':
      return { role: tag, floor: integer(items[2]), entry: readEntry([items[1], ...items.slice(3)]) };
    default:
      throw protocolError("the reply 'lead', 'follow', 'settled', 'cached' or 'stale' of claim.lua");
  }
}

/** The answer of peek.lua; the value is still in its frame. Throws CoordinatorError `protocol` for any other shape. */
export function readPeeked(reply: unknown): StoredEntry | undefined {
  const [tag, ...entry] = fields(reply, 'peek.lua');
  if (tag === 'nothing') return undefined;
  if (tag === 'stored') return readEntry(entry);
  throw protocolError("the reply 'stored' or 'nothing' of peek.lua");
}

/** The answer of renew.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readRenewal(reply: unknown): Renewal {
  const [tag, floor, waiters] = fields(reply, 'renew.lua');
  if (tag === 'held') return { state: 'held', floor: integer(floor), waiters: integer(waiters) };
  if (tag === 'detached') return { state: 'detached', floor: integerOrNothing(floor) };
  throw protocolError("the reply 'held' or 'detached' of renew.lua");
}

/** The answer of settle.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readSettlement(reply: unknown): Settlement {
  const items = itemsOf(reply, 'settle.lua');
  const tag = text(items[0]);
  if (tag === 'settled' || tag === 'detached') return { state: tag, floor: integerOrNothing(items[1]) };
  throw protocolError("the reply 'settled' or 'detached' of settle.lua");
}

/** The answer of release.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readReleased(reply: unknown): void {
  const [tag] = fields(reply, 'release.lua');
  if (tag !== 'released') throw protocolError("the reply 'released' of release.lua");
}

/** The answer of invalidate.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readFloor(reply: unknown): number {
  const [tag, floor] = fields(reply, 'invalidate.lua');
  if (tag === 'invalidated') return integer(floor);
  throw protocolError("the reply 'invalidated' of invalidate.lua");
}

/** One token under a tag. Throws CoordinatorError `protocol` for any other shape. */
export function readToken(reply: unknown, expected: string, script: string): number {
  const [tag, token] = fields(reply, script);
  if (tag === expected) return integer(token);
  throw protocolError(`the reply '${expected}' of ${script}`);
}

/** Names or hashes under a tag. Throws CoordinatorError `protocol` for any other shape. */
export function readHashes(reply: unknown, expected: string, script: string): string[] {
  const [tag, ...names] = fields(reply, script);
  if (tag === expected) return names.map(text);
  throw protocolError(`the reply '${expected}' of ${script}`);
}

/** The answer of `HMGET` of a floor: the first field that there is. Throws CoordinatorError `protocol` for any other shape. */
export function readKnownFloor(reply: unknown): number | undefined {
  if (!Array.isArray(reply)) throw protocolError('an array from HMGET');
  const items: readonly unknown[] = reply;
  const known = items.find((item) => item !== null);
  return known === undefined ? undefined : integer(known);
}

/** The answer of `PUBSUB NUMSUB`: how many subscribers each channel has. Throws CoordinatorError `protocol` for any other shape. */
export function readSubscribers(reply: unknown): Map<string, number> {
  if (!Array.isArray(reply) || reply.length % 2 !== 0) throw protocolError('pairs of channel and count from PUBSUB NUMSUB');
  const items: readonly unknown[] = reply;
  const counts = new Map<string, number>();
  for (let at = 0; at < items.length; at += 2) counts.set(text(items[at]), integer(items[at + 1]));
  return counts;
}

/** What claim.lua says, before the frame in it was opened. */
export type ClaimReply = LeadReply | Extract<Claim, { role: 'follower' }> | StoredFrame | EntryReply;

export interface LeadReply extends Omit<Extract<Claim, { role: 'leader' }>, 'stale'> {
  /** A stored value that may be served meanwhile. */
  readonly entry?: StoredEntry;
}

/** What is stored on request answers the claim. */
export interface EntryReply {
  readonly role: 'cached' | 'stale';
  readonly floor: number;
  readonly entry: StoredEntry;
}

export interface StoredEntry {
  readonly frame: Buffer;
  readonly fencingToken: number;
  readonly ageMs: number;
  readonly loadMs: number;
  readonly lifetimes: StoredLifetimes | undefined;
}

export interface StoredFrame {
  readonly role: 'settled';
  readonly frame: Buffer;
  readonly fencingToken: number;
  readonly floor: number;
}

function readLead(items: readonly unknown[]): LeadReply {
  const lead = { role: 'leader', fencingToken: integer(items[1]), floor: integer(items[2]), attempt: integer(items[3]) } as const;
  return items.length === 4 ? lead : { ...lead, entry: readEntry(items.slice(4)) };
}

function readEntry([token, ageMs, loadMs, lifetimes, frame]: readonly unknown[]): StoredEntry {
  if (!Buffer.isBuffer(frame)) throw protocolError('a frame with a stored outcome');
  return { frame, fencingToken: integer(token), ageMs: integer(ageMs), loadMs: integer(loadMs), lifetimes: readLifetimes(text(lifetimes)) };
}

function readLifetimes(lifetimes: string): StoredLifetimes | undefined {
  if (lifetimes === '') return undefined;
  const [ttlMs, staleWhileRevalidateMs, staleIfErrorMs] = lifetimes.split(' ');
  return { ttlMs: integer(ttlMs), staleWhileRevalidateMs: integer(staleWhileRevalidateMs), staleIfErrorMs: integer(staleIfErrorMs) };
}

function readSettled([, token, floor, frame]: readonly unknown[]): StoredFrame {
  if (!Buffer.isBuffer(frame)) throw protocolError('a frame with a settled outcome');
  return { role: 'settled', frame, fencingToken: integer(token), floor: integer(floor) };
}

/** The tag of a script's reply, and the rest of it. */
export function fields(reply: unknown, script: string): [tag: string, ...rest: unknown[]] {
  const items = itemsOf(reply, script);
  return [text(items[0]), ...items.slice(1)];
}

function itemsOf(reply: unknown, script: string): readonly unknown[] {
  if (!Array.isArray(reply) || reply.length === 0) throw protocolError(`an array from ${script}`);
  return reply;
}

/** A string, as which Redis may give a Buffer. */
export function text(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (typeof value === 'string') return value;
  throw protocolError('a string');
}

/** Tokens travel as decimal strings, because Lua would round them; counts and durations as integers. */
export function integer(value: unknown): number {
  const number = typeof value === 'number' ? value : Buffer.isBuffer(value) ? decimal(value) : numberIn(text(value));
  if (!Number.isSafeInteger(number) || number < 0) throw protocolError('a whole number');
  return number;
}

/** As `integer`; undefined for an empty string. */
export function integerOrNothing(value: unknown): number | undefined {
  const isEmpty = Buffer.isBuffer(value) ? value.length === 0 : text(value) === '';
  return isEmpty ? undefined : integer(value);
}

function numberIn(digits: string): number {
  return /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
}

/** As `numberIn`, without a text in between: most replies are numbers. */
function decimal(digits: Buffer): number {
  if (digits.length === 0 || digits.length > DIGITS_MAX) return Number.NaN;
  let number = 0;
  for (const digit of digits) {
    if (digit < ZERO || digit > NINE) return Number.NaN;
    number = number * 10 + digit - ZERO;
  }
  return number;
}

const DIGITS_MAX = 16;
const ZERO = 0x30;
const NINE = 0x39;
