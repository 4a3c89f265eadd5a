import type { Claim, FlightId, Message } from '@oneflight/core';

/**
 * Holds back an outcome that names a claim whose reply has not come: only the reply says which tokens may answer that
 * claim. Core would take it, because the server's word counts; where outcomes are signed somebody is expected who sends an
 * old one again, and this is the moment in which that would be believed.
 */
export class EarlyOutcomes {
  readonly #deliver: (message: Settled) => void;
  readonly #asking = new Map<FlightId, Asking>();

  constructor(deliver: (message: Settled) => void) {
    this.#deliver = deliver;
  }

  /** Does a first claim, and lets go what was held for it when its reply says that it may. */
  async during(id: FlightId, claim: () => Promise<Claim>): Promise<Claim> {
    const asking: Asking = this.#asking.get(id) ?? { claims: 0, isAnswered: false, held: undefined };
    this.#asking.set(id, asking);
    asking.claims += 1;
    try {
      const reply = await claim();
      this.#answer(asking, reply);
      return reply;
    } finally {
      // Sent twice, the other one's reply may still say.
      asking.claims -= 1;
      if (asking.claims === 0) this.#asking.delete(id);
    }
  }

  /** Passes a message on, without those whom it may not reach yet. */
  pass(message: Settled): void {
    const [early, known] = [message.ids.filter((id) => this.#isAsking(id)), message.ids.filter((id) => !this.#isAsking(id))];
    for (const id of early) {
      const asking = this.#asking.get(id);
      if (asking !== undefined) asking.held = { ...message, ids: [id] };
    }
    if (known.length > 0) this.#deliver({ ...message, ids: known });
  }

  #isAsking(id: FlightId): boolean {
    return this.#asking.get(id)?.isAnswered === false;
  }

  #answer(asking: Asking, reply: Claim): void {
    const { held } = asking;
    asking.isAnswered = true;
    asking.held = undefined;
    if (held !== undefined && reply.role === 'follower' && held.fencingToken >= reply.min) this.#deliver(held);
  }
}

type Settled = Extract<Message, { kind: 'settled' }>;

interface Asking {
  claims: number;
  isAnswered: boolean;
  held: Settled | undefined;
}
