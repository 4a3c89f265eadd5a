import type { FlightId, KeyHash, Message } from '../coordinator.js';

/**
 * Everything that travels between the replicas of a hub and its server passes through here, leg by leg, so that a test
 * can delay, drop, repeat or reorder it. `deliver` may be called at once, later, never (the leg is lost: the operation
 * stays pending) or again (a request is executed twice; a message arrives twice).
 */
export interface Network {
  send(leg: Leg, deliver: () => void): void;
}

/** One leg of the way: an operation's request, its reply, or a message to one replica. */
export type Leg =
  | {
      readonly kind: 'request' | 'reply';
      readonly op: OperationName;
      readonly id: FlightId | undefined;
      readonly key: KeyHash | undefined;
      readonly from: string;
      readonly to: string;
    }
  | { readonly kind: 'message'; readonly message: Message; readonly key: KeyHash | undefined; readonly from: string; readonly to: string };

export type OperationName = 'claim' | 'renew' | 'settle' | 'release' | 'invalidate' | 'peek' | 'floor' | 'tag' | 'absent';

/** The name of the hub's server in `from` and `to`; replicas are named by their inbox. */
export const SERVER = 'server';

/** Delivers everything, in order, in the next microtask. */
export const promptNetwork: Network = Object.freeze({
  send(_leg: Leg, deliver: () => void): void {
    queueMicrotask(deliver);
  },
});
