import type { Claim, CoordinatorLink, FlightId, Message, Outcome, StoredOutcome } from '@oneflight/core';
import { memoryHub } from '@oneflight/core/testing';
import { startRedis, type TestServer } from '@oneflight/testkit';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';

/*
 * The memory hub is the protocol's executable specification; the scripts must answer every sequence of operations as it
 * does. Tokens are compared by their order, because the two have different clocks. Time passes on both sides when the
 * test says so: on the hub by its manual clock, in Redis by taking the time off every expiry.
 */
const REPLICAS = 2;
const IDS_EACH = 2;
const TIMINGS = { leaseMs: 20_000, recheckMs: 2_000, retainMs: 30_000, inlineBytesMax: 64 };

type Step =
  | {
      readonly op: 'claim';
      readonly id: number;
      readonly min: number;
      readonly floor: number;
      readonly takeover: boolean;
      readonly strict: boolean;
      readonly cache: number;
    }
  | {
      readonly op: 'renew' | 'settle';
      readonly id: number;
      readonly token: number;
      readonly outcome: number;
      readonly store: number;
      readonly byLeader: 'with its token' | 'with another' | 'no';
    }
  | { readonly op: 'release'; readonly id: number; readonly failed: boolean }
  | { readonly op: 'invalidate' | 'floor'; readonly id: number }
  | { readonly op: 'peek'; readonly id: number; readonly floor: number }
  | { readonly op: 'advance'; readonly ms: number };

const OUTCOMES: readonly Outcome[] = [
  { kind: 'value', bytes: Buffer.from('small') },
  { kind: 'value', bytes: Buffer.alloc(500, 'large') },
  { kind: 'error', bytes: Buffer.from('failed') },
  { kind: 'unshareable', why: 'untravelable' },
  { kind: 'unshareable', why: 'private' },
];

const CACHES = [
  undefined,
  { freshMs: 10_000, freshErrorMs: 0, staleMs: 10_000, staleIfErrorMs: 10_000 },
  { freshMs: 5_000, freshErrorMs: 5_000, staleMs: 15_000, staleIfErrorMs: 25_000 },
  { freshMs: 20_000, freshErrorMs: 0, staleMs: 60_000, staleIfErrorMs: 40_000, revalidateMs: 60_000 },
  { freshMs: 0, freshErrorMs: 0, staleMs: 0, staleIfErrorMs: 0, revalidateMs: 60_000 },
];

const STORES = [
  undefined,
  { valueMs: 25_000, errorMs: 5_000, loadMs: 7 },
  { valueMs: 0, errorMs: 0, loadMs: 7, lifetimes: { ttlMs: 0, staleWhileRevalidateMs: 0, staleIfErrorMs: 0 } },
  {
    valueMs: 40_000,
    errorMs: 0,
    loadMs: 7,
    lifetimes: { ttlMs: 8_000, staleWhileRevalidateMs: 9_000, staleIfErrorMs: 20_000 },
    ageMs: 3_000,
  },
];

const OWN_MIN = -1;
const id = fc.nat(REPLICAS * IDS_EACH - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  // Tokens are named by how many newer ones were seen; one beyond them all is 0. A waiter presents the min that it was told.
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('claim' as const),
      id,
      min: fc.constantFrom(9, 9, 9, OWN_MIN, OWN_MIN, OWN_MIN, 0, 1, 2),
      floor: fc.constantFrom(9, 9, 9, 9, 9, 0, 1, 2),
      takeover: fc.boolean(),
      strict: fc.boolean(),
      cache: fc.constantFrom(0, 0, 1, 2, 3, 3, 4),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constantFrom('renew' as const, 'settle' as const, 'settle' as const),
      id,
      token: fc.constantFrom(0, 0, 0, 1, 2),
      outcome: fc.constantFrom(0, 0, 0, 1, 2, 3, 4),
      store: fc.constantFrom(0, 1, 2, 3, 3, 3),
      byLeader: fc.constantFrom('with its token', 'with its token', 'with its token', 'with another', 'no'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('release' as const), id, failed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('invalidate' as const, 'floor' as const), id }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('peek' as const), id, floor: fc.constantFrom(9, 9, 0, 1) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('advance' as const), ms: fc.constantFrom(4_000, 12_000, 21_000) }) },
);

let server: TestServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

it('the scripts answer every sequence of operations as the specification does', async () => {
  let sequences = 0;
  const roles = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      sequences++;
      const key = randomBytes(32).toString('base64url');
      const hub = memoryHub(TIMINGS);
      const specified = new Side(
        () => hub.coordinator().connect,
        key,
        // Time passes between operations on a real server too: the token after a waiter's min is not that min.
        (ms) => hub.clock.advance(ms + 1),
      );
      const prefix = `model${sequences}`;
      const real = new Side(
        () => redisCoordinator({ redis: () => new Redis(server.url), prefix, ...TIMINGS }).connect,
        key,
        (ms) => takeOff(redis, prefix, ms),
      );
      try {
        await Promise.all([specified.open(), real.open()]);
        for (const [at, next] of steps.entries()) {
          const [expected, got] = await Promise.all([specified.play(next), real.play(next)]);
          roles.set(expected.split(' ')[0] ?? '', (roles.get(expected.split(' ')[0] ?? '') ?? 0) + 1);
          expect(`${at} ${got}`).toBe(`${at} ${expected}`);
          await specified.quiet(0);
          await real.quiet(specified.messages);
          expect(real.heard(), `messages after step ${at}: ${JSON.stringify(next)}`).toEqual(specified.heard());
        }
      } finally {
        await Promise.all([specified.close(), real.close()]);
      }
    }),
    { numRuns: 300 },
  );
  console.log(`${sequences} sequences, answers by kind:`, Object.fromEntries(roles));
}, 120_000);

/** One of the two: its replicas, what they heard, and which tokens were seen in which order. */
class Side {
  readonly #connect: () => (replica: { namespace: string; receive(message: Message): void }) => CoordinatorLink;
  readonly #key: string;
  readonly #advance: (ms: number) => Promise<void>;
  readonly #links: CoordinatorLink[] = [];
  readonly #heard: string[][] = [];
  #tokens: number[] = [];
  /** The min that each waiter was told. */
  readonly #mins = new Map<FlightId, number>();
  /** Who was last told to lead, and with which token. */
  #leader: { readonly replica: number; readonly id: FlightId; readonly token: number } | undefined;

  constructor(
    connect: () => (replica: { namespace: string; receive(message: Message): void }) => CoordinatorLink,
    key: string,
    advance: (ms: number) => Promise<void>,
  ) {
    this.#connect = connect;
    this.#key = key;
    this.#advance = advance;
  }

  async open(): Promise<void> {
    for (let replica = 0; replica < REPLICAS; replica++) {
      const heard: string[] = [];
      this.#heard.push(heard);
      this.#links.push(this.#connect()({ namespace: 'model', receive: (message) => void heard.push(this.#message(message)) }));
    }
    for (const { opening } of this.#links) await opening;
  }

  get messages(): number {
    return this.#heard.reduce((sum, list) => sum + list.length, 0);
  }

  heard(): string[][] {
    return this.#heard.map((list) => list.toSorted());
  }

  /** Waits until as many messages have arrived as on the other side, and no more come. */
  async quiet(expected: number): Promise<void> {
    await this.#advance(0);
    for (let turn = 0; turn < 5_000 && this.messages < expected; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
    if (expected > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async play(step: Step): Promise<string> {
    if (step.op === 'advance') {
      await this.#advance(step.ms);
      return 'advanced';
    }
    const leader = 'byLeader' in step && step.byLeader !== 'no' ? this.#leader : undefined;
    const link = this.#links[leader?.replica ?? step.id % REPLICAS];
    if (link === undefined) throw new Error('no such replica');
    const settled = this.#perform(
      link,
      leader?.id ?? this.#id(step.id),
      step,
      'byLeader' in step && step.byLeader === 'with its token' ? leader?.token : undefined,
    );
    await this.#advance(0);
    return settled;
  }

  async close(): Promise<void> {
    await Promise.all(this.#links.map((link) => link.close()));
  }

  async #perform(
    link: CoordinatorLink,
    flightId: FlightId,
    step: Exclude<Step, { op: 'advance' }>,
    leaderToken: number | undefined,
  ): Promise<string> {
    const holder = { key: this.#key, id: flightId };
    switch (step.op) {
      case 'claim':
        return this.#ask(link, flightId, step);
      case 'renew': {
        const renewal = await link.renew({ ...holder, token: leaderToken ?? this.#seen(step.token) });
        return renewal.state === 'held' ? `held ${this.#rank(renewal.floor)} ${renewal.waiters}` : `detached ${this.#rank(renewal.floor)}`;
      }
      case 'settle': {
        const outcome = OUTCOMES[step.outcome] ?? { kind: 'unshareable', why: 'private' };
        const cache = STORES[step.store];
        const token = leaderToken ?? this.#seen(step.token);
        const { state, floor } = await link.settle({ ...holder, token, outcome, ...(cache && { cache }) });
        return `${state} ${this.#rank(floor)}`;
      }
      case 'release':
        await link.release({ ...holder, failed: step.failed });
        return 'released';
      case 'peek': {
        const stored = await link.peek?.({ key: this.#key, floor: this.#seen(step.floor) });
        return stored === undefined ? 'nothing' : `stored ${this.#stored(stored)}`;
      }
      case 'floor':
        return `floor ${this.#rank(await link.floor?.({ key: this.#key }))}`;
      case 'invalidate':
        return `invalidated ${this.#rank(await link.invalidate({ key: this.#key }))}`;
    }
  }

  async #ask(link: CoordinatorLink, flightId: FlightId, step: Extract<Step, { op: 'claim' }>): Promise<string> {
    const cache = CACHES[step.cache];
    const claim = await link.claim({
      key: this.#key,
      id: flightId,
      min: step.min === OWN_MIN ? (this.#mins.get(flightId) ?? 0) : this.#seen(step.min),
      floor: this.#seen(step.floor),
      takeover: step.takeover,
      strict: step.strict,
      ...(cache && { cache }),
    });
    if (claim.role === 'follower') this.#mins.set(flightId, claim.min);
    else this.#mins.delete(flightId);
    if (claim.role === 'leader') this.#leader = { replica: step.id % REPLICAS, id: flightId, token: claim.fencingToken };
    return this.#claim(claim);
  }

  #claim(claim: Claim): string {
    switch (claim.role) {
      case 'leader':
        return `leader ${this.#rank(claim.fencingToken)} ${this.#rank(claim.floor, claim.fencingToken)} ${claim.attempt} ${claim.stale === undefined ? '' : this.#stored(claim.stale)}`;
      case 'follower':
        return `follower ${this.#rank(claim.min)} ${this.#rank(claim.floor)} ${this.#name(claim.flightId)}`;
      case 'settled':
        return `settled ${this.#rank(claim.fencingToken)} ${this.#rank(claim.floor)} ${read(claim.outcome)}`;
      case 'cached':
      case 'stale':
        return `${claim.role} ${this.#rank(claim.floor)} ${this.#stored(claim.stored)}`;
    }
  }

  #stored({ outcome, fencingToken, ageMs, loadMs, lifetimes }: StoredOutcome): string {
    // The steps of time are whole seconds; the way to a real server is less.
    const age = `aged ${Math.floor(ageMs / 1_000)} s, load ${loadMs}`;
    return `${read(outcome)} of ${this.#rank(fencingToken)} ${age}, ${lifetimes === undefined ? 'free' : Object.values(lifetimes).join()}`;
  }

  #message(message: Message): string {
    switch (message.kind) {
      case 'settled':
        return `settled ${this.#rank(message.fencingToken)} ${message.ids
          .map((name) => this.#name(name))
          .toSorted()
          .join()} ${read(message.outcome)}`;
      case 'woken':
        return `woken ${message.ids
          .map((name) => this.#name(name))
          .toSorted()
          .join()}`;
      case 'invalidated':
        return `invalidated ${this.#rank(message.floor)}`;
      default:
        return message.kind;
    }
  }

  /** A token by how many smaller ones were seen; a floor just below a new token is 'new'. */
  #rank(value: number | undefined, below?: number): string {
    if (value === undefined) return 'unknown';
    if (value === 0) return '0';
    if (below !== undefined && value === below - 1 && !this.#tokens.includes(value)) return 'new';
    if (!this.#tokens.includes(value) && this.#tokens.includes(value + 1)) return `below ${this.#tokens.indexOf(value + 1)}`;
    if (!this.#tokens.includes(value) && this.#tokens.includes(value - 1)) return `above ${this.#tokens.indexOf(value - 1)}`;
    if (!this.#tokens.includes(value)) this.#tokens = [...this.#tokens, value].toSorted((a, b) => a - b);
    return String(this.#tokens.indexOf(value));
  }

  #seen(fromNewest: number): number {
    return this.#tokens.at(-1 - fromNewest) ?? 0;
  }

  #id(index: number): FlightId {
    return `${this.#links[index % REPLICAS]?.inbox}#${Math.floor(index / REPLICAS) + 1}`;
  }

  #name(flightId: FlightId): string {
    const [inbox, sequence] = flightId.split('#');
    return `${this.#links.findIndex((link) => link.inbox === inbox)}#${sequence}`;
  }
}

function read(outcome: Outcome): string {
  return outcome.kind === 'unshareable'
    ? `unshareable ${outcome.why}`
    : `${outcome.kind} ${Buffer.from(outcome.bytes).toString().slice(0, 12)}`;
}

/** Lets time pass for keys: each expires that much sooner, and what remembers when it was stored is that much older. */
async function takeOff(client: Redis, prefix: string, ms: number): Promise<void> {
  if (ms === 0) return;
  for (const key of await client.keys(`${prefix}:*`)) {
    const leftMs = await client.pttl(key);
    if (leftMs <= ms) {
      await client.del(key);
      continue;
    }
    await client.pexpire(key, leftMs - ms);
    if (key.endsWith(':v') || key.endsWith(':e')) await client.hincrby(key, 'at', -ms);
  }
}
