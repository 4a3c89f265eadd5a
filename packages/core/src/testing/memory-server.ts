import type { Clock } from '../clock.js';
import type { Codec } from '../codec.js';
import type { CoordinatorTimings, FlightId, KeyHash, Message, Outcome } from '../coordinator.js';
import { EVERYONE, MemoryStore, type Publication } from './memory-store.js';
import { SERVER, type Network, type OperationName } from './network.js';

/** What the replicas of one hub share: the store, who is subscribed, and the network between. */
export class MemoryServer {
  readonly settings: ServerSettings;
  readonly store: MemoryStore;
  readonly operations: Operation[] = [];
  readonly #subscriptions = new Map<string, Subscription>();
  #isOut = false;

  constructor(settings: ServerSettings) {
    this.settings = settings;
    this.store = new MemoryStore({
      ...settings.timings,
      inlineBytesMax: settings.inlineBytesMax,
      nowMs: () => settings.clock.now(),
      listens: (inbox) => this.listens(inbox),
    });
  }

  get isOut(): boolean {
    return this.#isOut;
  }

  setOut(isOut: boolean): void {
    this.#isOut = isOut;
  }

  listens(inbox: string): boolean {
    return this.#subscriptions.has(inbox);
  }

  subscribe(inbox: string, receive: (message: Message) => void): void {
    this.#subscriptions.set(inbox, { receive });
  }

  unsubscribe(inbox: string): void {
    this.#subscriptions.delete(inbox);
  }

  publish(publications: readonly Publication[]): void {
    for (const { to, message } of publications) {
      const inboxes = to === EVERYONE ? [...this.#subscriptions.keys()] : [to];
      for (const inbox of inboxes) this.#deliver(inbox, message);
    }
  }

  #deliver(inbox: string, message: Message): void {
    const subscription = this.#subscriptions.get(inbox);
    if (subscription === undefined) return;
    const key = 'key' in message ? message.key : undefined;
    this.settings.network.send({ kind: 'message', message, key, from: SERVER, to: inbox }, () => {
      // A subscription that was lost loses what was on its way, also when the inbox is subscribed anew.
      if (this.#subscriptions.get(inbox) !== subscription) return;
      subscription.receive(message.kind === 'settled' ? { ...message, outcome: copyOutcome(message.outcome) } : message);
    });
  }
}

/** Bytes that crossed a process are the receiver's own: no replica may see another's mutation of them. */
export function copyOutcome(outcome: Outcome): Outcome {
  return outcome.kind === 'unshareable' ? outcome : { ...outcome, bytes: Uint8Array.from(outcome.bytes) };
}

/** An operation that the server executed. A request that the network delivered twice is there twice. */
export interface Operation {
  readonly op: OperationName;
  readonly id: FlightId | undefined;
  readonly key: KeyHash | undefined;
}

export interface ServerSettings {
  readonly clock: Clock;
  readonly timings: CoordinatorTimings;
  readonly inlineBytesMax: number;
  readonly codec: Codec;
  readonly network: Network;
}

interface Subscription {
  receive(message: Message): void;
}
