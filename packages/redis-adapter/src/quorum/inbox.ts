import type { Claim, FlightId, KeyHash, Message, Replica } from '@oneflight/core';

/**
 * What arrives from several nodes, as if it came from one: each message once, and only to those whom it may answer. An
 * outcome that names a claim whose votes are not counted yet waits for the count, because one node alone does not know
 * what fences the key.
 */
export class QuorumInbox {
  readonly #replica: Replica;
  readonly #orphaned: (key: KeyHash, id: FlightId) => void;
  readonly #waiting = new Map<FlightId, Waiting>();
  readonly #leading = new Set<FlightId>();
  readonly #floors = new Map<KeyHash, number>();

  /** `orphaned` is told of a wake-up for somebody who neither leads nor waits: a vote may be left with them. */
  constructor(replica: Replica, orphaned: (key: KeyHash, id: FlightId) => void) {
    this.#replica = replica;
    this.#orphaned = orphaned;
  }

  /** Does a claim, and delivers what came for it meanwhile once it is known what may answer it. */
  async during(id: FlightId, claim: () => Promise<Claim>): Promise<Claim> {
    const waiting = this.#waiting.get(id) ?? { min: undefined, isAsking: true, outcome: undefined, woken: undefined, wokenBy: new Map() };
    waiting.isAsking = true;
    this.#waiting.set(id, waiting);
    try {
      const reply = await claim();
      this.#answered(id, waiting, reply);
      return reply;
    } catch (error) {
      this.forget(id);
      throw error;
    }
  }

  /** The lowest token that may answer this waiter, where it waits already: it never grows. */
  minOf(id: FlightId): number {
    return this.#waiting.get(id)?.min ?? Number.POSITIVE_INFINITY;
  }

  /** Nothing that comes from now on is for this id. */
  forget(id: FlightId): void {
    this.#waiting.delete(id);
    this.#leading.delete(id);
  }

  /** Takes a message from one node. */
  receive(node: number, message: Message): void {
    switch (message.kind) {
      case 'settled':
        this.#settled(message);
        return;
      case 'woken':
        for (const id of message.ids) this.#woken(node, message.key, id);
        return;
      case 'invalidated':
        if (message.floor <= (this.#floors.get(message.key) ?? 0)) return;
        this.#remember(message.key, message.floor);
        this.#replica.receive(message);
        return;
      case 'tag-invalidated':
        return; // Nothing is stored over a quorum, so nothing carries a tag.
      case 'deaf':
      case 'listening':
      case 'circuit':
      case 'rejected':
        this.#replica.receive(message);
    }
  }

  #settled(message: Settled): void {
    const ids = message.ids.filter((id) => {
      const waiting = this.#waiting.get(id);
      if (waiting === undefined) return false;
      if (waiting.min === undefined) {
        if (message.fencingToken > (waiting.outcome?.fencingToken ?? 0)) waiting.outcome = { ...message, ids: [id] };
        return false;
      }
      return message.fencingToken >= waiting.min;
    });
    for (const id of ids) this.#waiting.delete(id);
    if (ids.length > 0) this.#replica.receive({ ...message, ids });
  }

  /** Each node wakes the one whom it finds first, which is the same one if it finds the same ones. */
  #woken(node: number, key: KeyHash, id: FlightId): void {
    if (this.#leading.has(id)) return;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) {
      this.#orphaned(key, id);
      return;
    }
    if (waiting.isAsking) {
      waiting.woken = key;
      return;
    }
    const now = performance.now();
    const isRepeated =
      [...waiting.wokenBy].some(([other, at]) => other !== node && now - at < REPEATED_MS_MAX) && !waiting.wokenBy.has(node);
    waiting.wokenBy.set(node, now);
    if (isRepeated) return;
    for (const other of waiting.wokenBy.keys()) if (other !== node) waiting.wokenBy.delete(other);
    this.#replica.receive({ kind: 'woken', key, ids: [id] });
  }

  #answered(id: FlightId, waiting: Waiting, reply: Claim): void {
    waiting.isAsking = false;
    if (reply.role !== 'follower') {
      this.#waiting.delete(id);
      if (reply.role === 'leader') this.#leading.add(id);
      return;
    }
    waiting.min = Math.min(waiting.min ?? reply.min, reply.min);
    const { outcome, woken } = waiting;
    waiting.outcome = undefined;
    waiting.woken = undefined;
    if (outcome !== undefined && outcome.fencingToken >= waiting.min) this.#settled(outcome);
    else if (woken !== undefined) this.#replica.receive({ kind: 'woken', key: woken, ids: [id] });
  }

  #remember(key: KeyHash, floor: number): void {
    this.#floors.delete(key);
    this.#floors.set(key, floor);
    if (this.#floors.size <= FLOORS_MAX) return;
    for (const oldest of this.#floors.keys()) {
      this.#floors.delete(oldest);
      return;
    }
  }
}

type Settled = Extract<Message, { kind: 'settled' }>;

interface Waiting {
  /** The lowest token that may answer it; undefined before its first claim was counted. */
  min: number | undefined;
  isAsking: boolean;
  outcome: Settled | undefined;
  woken: KeyHash | undefined;
  /** Which nodes have told of this wake-up, and when. */
  readonly wokenBy: Map<number, number>;
}

/** The same wake-up comes from all nodes within this time, in milliseconds. */
const REPEATED_MS_MAX = 100;
/** How many keys' floors are remembered, to tell of each invalidation once. */
const FLOORS_MAX = 10_000;
