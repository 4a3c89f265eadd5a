import type { FlightId } from '@oneflight/core';
import { protocolError } from '../failures.js';
import { fields, integer, integerOrNothing, text } from '../replies.js';

/** What one node says to a proposal. `floor` is absent where the node knows nothing of the key. */
export type Vote =
  /** Its lease is the claimer's, with this token; `highest` is the highest token that it knows. */
  | {
      readonly kind: 'lead';
      readonly token: number;
      readonly highest: number;
      readonly attempt: number;
      readonly floor: number | undefined;
    }
  /** Its lease is another's. */
  | {
      readonly kind: 'follow';
      readonly token: number;
      readonly leader: FlightId;
      readonly leaseLeftMs: number;
      readonly floor: number | undefined;
    }
  /** It has an outcome that may answer the claimer. */
  | { readonly kind: 'settled'; readonly token: number; readonly frame: Buffer; readonly floor: number | undefined }
  /** Its lease is free, but it knows a token that is not below the proposed one. */
  | { readonly kind: 'behind'; readonly highest: number; readonly floor: number | undefined }
  /** It did not answer, or not in time to be counted. */
  | { readonly kind: 'absent'; readonly error: unknown };

/** The answer of propose.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readVote(reply: unknown): Vote {
  const [tag, first, floor, third, fourth] = fields(reply, 'propose.lua');
  switch (tag) {
    case 'lead':
      return { kind: 'lead', token: integer(first), floor: integerOrNothing(floor), attempt: integer(third), highest: integer(fourth) };
    case 'follow':
      return { kind: 'follow', token: integer(first), floor: integerOrNothing(floor), leaseLeftMs: integer(third), leader: text(fourth) };
    case 'settled':
      if (!Buffer.isBuffer(third)) throw protocolError('a frame with a settled outcome');
      return { kind: 'settled', token: integer(first), floor: integerOrNothing(floor), frame: third };
    case 'behind':
      return { kind: 'behind', highest: integer(first), floor: integerOrNothing(floor) };
    default:
      throw protocolError("the reply 'lead', 'follow', 'settled' or 'behind' of propose.lua");
  }
}

/** The answer of fence.lua. Throws CoordinatorError `protocol` for any other shape. */
export function readFence(reply: unknown): { readonly done: boolean; readonly highest: number } {
  const [tag, token] = fields(reply, 'fence.lua');
  if (tag === 'invalidated' || tag === 'behind') return { done: tag === 'invalidated', highest: integer(token) };
  throw protocolError("the reply 'invalidated' or 'behind' of fence.lua");
}
