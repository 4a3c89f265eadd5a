import { randomBytes } from 'node:crypto';
import type {
  CacheWrite,
  Claim,
  ClaimRequest,
  Coordinator,
  CoordinatorLink,
  FlightId,
  KeyHash,
  Message,
  Outcome,
  Renewal,
  Settlement,
  StoredOutcome,
} from '../../coordinator.js';
import type { ContractServer, ContractTimings } from '../coordinator-contract.js';

/** One promise of the contract; its title is the name under which it is listed. */
export interface Clause {
  readonly timings?: ContractTimings;
  readonly body: (stage: Stage) => Promise<void>;
}

/** For clauses in which no lease ends, however slow the machine is. */
export const LONG_LEASE: ContractTimings = Object.freeze({ leaseMs: 20_000, recheckMs: 2_000 });

/** For clauses that wait for the end of a lease, which may be real time. */
export const SHORT_LEASE: ContractTimings = Object.freeze({ leaseMs: 600, recheckMs: 100 });

/** What a clause plays on: replicas, time, and one key that no other clause uses. */
export class Stage {
  readonly key: KeyHash = newKey();
  readonly expect: ContractExpect;
  readonly timings: ContractTimings;
  readonly #server: ContractServer;
  readonly #actors: Actor[] = [];

  constructor(server: ContractServer, timings: ContractTimings, expect: ContractExpect) {
    this.#server = server;
    this.timings = timings;
    this.expect = expect;
  }

  /** A replica for each name, connected and listening. */
  async actors<Name extends string>(...names: readonly Name[]): Promise<Record<Name, Actor>> {
    const cast = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await this.#actor()] as const)));
    if (!hasAll(cast, names)) throw new Error('an actor is missing');
    return cast;
  }

  /** Waits for messages that are due. Fails when they do not come. */
  async until(isDone: () => boolean, what: string): Promise<void> {
    for (let step = 0; !isDone(); step += 1) {
      if (step === WAIT_STEPS_MAX) throw new Error(`waited for ${what}, in vain`);
      await this.#server.advance(5);
    }
  }

  /** Waits long enough for a message that must not come. */
  async quiet(): Promise<void> {
    await this.#server.advance(30);
  }

  /** Lets the lease of whoever leads come to its end. */
  async endLease(): Promise<void> {
    await this.#server.advance(this.timings.leaseMs + 50);
  }

  async advance(ms: number): Promise<void> {
    await this.#server.advance(ms);
  }

  async crash(actor: Actor): Promise<void> {
    if (this.#server.crash === undefined) throw new Error('the subject offers no crash(): offer it, or skip this clause with a reason');
    await this.#server.crash(actor.coordinator, actor.link);
  }

  async wipe(): Promise<void> {
    if (this.#server.wipe === undefined) throw new Error('the subject offers no wipe(): offer it, or skip this clause with a reason');
    await this.#server.wipe();
  }

  async close(): Promise<void> {
    await Promise.all(this.#actors.map((actor) => actor.link.close()));
  }

  async #actor(): Promise<Actor> {
    const actor = new Actor(this.#server.coordinator(), this.key);
    this.#actors.push(actor);
    await actor.link.opening;
    // A claim is executed only once the replica listens, so after it nothing can be missed.
    const warmUp = { key: newKey(), id: actor.newId() };
    await actor.link.claim({ ...warmUp, min: 0, floor: 0, takeover: false });
    await actor.link.release(warmUp);
    return actor;
  }
}

/** One replica, speaking to its link as core does. */
export class Actor {
  readonly coordinator: Coordinator;
  readonly link: CoordinatorLink;
  readonly messages: Message[] = [];
  /** The id that its operations use unless they name another. */
  readonly id: FlightId;
  readonly #key: KeyHash;
  #sequence = 0;

  constructor(coordinator: Coordinator, key: KeyHash) {
    this.coordinator = coordinator;
    this.#key = key;
    this.link = coordinator.connect({ namespace: 'contract', receive: (message) => void this.messages.push(message) });
    this.id = this.newId();
  }

  newId(): FlightId {
    this.#sequence += 1;
    return `${this.link.inbox}#${this.#sequence}`;
  }

  claim(request: Partial<ClaimRequest> = {}): Promise<Claim> {
    return this.link.claim({ key: this.#key, id: this.id, min: 0, floor: 0, takeover: false, ...request });
  }

  /** Claims, and must lead. */
  async leads(request: Partial<ClaimRequest> = {}): Promise<Extract<Claim, { role: 'leader' }>> {
    const claim = await this.claim(request);
    if (claim.role !== 'leader') throw new Error(`expected the claim to lead, got ${describeClaim(claim)}`);
    return claim;
  }

  /** Claims, and must follow. */
  async follows(request: Partial<ClaimRequest> = {}): Promise<Extract<Claim, { role: 'follower' }>> {
    const claim = await this.claim(request);
    if (claim.role !== 'follower') throw new Error(`expected the claim to follow, got ${describeClaim(claim)}`);
    return claim;
  }

  /** Claims, and must get an outcome. */
  async fetches(request: Partial<ClaimRequest>): Promise<Extract<Claim, { role: 'settled' }>> {
    const claim = await this.claim(request);
    if (claim.role !== 'settled') throw new Error(`expected the claim to be settled, got ${describeClaim(claim)}`);
    return claim;
  }

  settle(token: number, outcome: Outcome, id = this.id, cache?: CacheWrite): Promise<Settlement> {
    return this.link.settle({ key: this.#key, id, token, outcome, ...(cache && { cache }) });
  }

  renew(token: number): Promise<Renewal> {
    return this.link.renew({ key: this.#key, id: this.id, token });
  }

  release(id = this.id, failed = false): Promise<void> {
    return this.link.release({ key: this.#key, id, failed });
  }

  invalidate(): Promise<number> {
    return this.link.invalidate({ key: this.#key });
  }

  async peek(floor = 0): Promise<StoredOutcome | undefined> {
    return this.link.peek?.({ key: this.#key, floor });
  }

  /** The key's floor, where the coordinator can read it. */
  async floor(): Promise<number | undefined> {
    if (this.link.floor === undefined) throw new Error('the subject offers no floor(): offer it, or skip this clause with a reason');
    return this.link.floor({ key: this.#key });
  }

  /** The messages that brought an outcome to this id. */
  outcomes(id = this.id): Extract<Message, { kind: 'settled' }>[] {
    return this.messages.filter((message) => message.kind === 'settled').filter(({ ids }) => ids.includes(id));
  }

  /** The messages that told this id to claim. */
  wakes(id = this.id): Extract<Message, { kind: 'woken' }>[] {
    return this.messages.filter((message) => message.kind === 'woken').filter(({ ids }) => ids.includes(id));
  }
}

/** An outcome that is told from others by its text. */
export function value(text: string): Outcome {
  return { kind: 'value', bytes: Buffer.from(text) };
}

/** What an outcome says, for comparison: runners compare bytes by class as well, which may differ after the journey. */
export function read(outcome: Outcome | undefined): string {
  if (outcome === undefined) return 'nothing';
  if (outcome.kind === 'unshareable') return `unshareable ${outcome.why}`;
  return `${outcome.kind} ${Buffer.from(outcome.bytes).toString('latin1')}`;
}

/** 1,000 s of the server's clock in its microseconds: a token that it cannot reach by letting time pass. */
export const FAR_AHEAD = 1_000_000_000;

/** The parts of an `expect` that the clauses use. */
export interface ContractExpect {
  (
    actual: unknown,
    message?: string,
  ): {
    toBe(expected: unknown): void;
    toEqual(expected: unknown): void;
    toMatchObject(expected: object): void;
    toBeGreaterThan(expected: number): void;
    toBeLessThanOrEqual(expected: number): void;
  };
}

/** The hash of a key that nobody else uses. */
export function newKey(): KeyHash {
  return randomBytes(32).toString('base64url');
}

function hasAll<Name extends string>(cast: Readonly<Record<string, Actor>>, names: readonly Name[]): cast is Record<Name, Actor> {
  return names.every((name) => Object.hasOwn(cast, name));
}

function describeClaim(claim: Claim): string {
  return claim.role === 'settled' ? `an outcome with token ${claim.fencingToken}` : `role ${claim.role}`;
}

/** 400 steps of 5 ms: far longer than a message takes, on a busy machine too. */
const WAIT_STEPS_MAX = 400;
