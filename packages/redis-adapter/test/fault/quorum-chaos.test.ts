import { setTimeout as sleep } from 'node:timers/promises';
import type { Message, Outcome } from '@oneflight/core';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { quorumCoordinator } from '../../src/index.js';
import type * as TokensModule from '../../src/quorum/tokens.js';
import { FlakyRedis, randomFrom } from '../support/flaky.js';
import { claimOf, joinReplica, type TestReplica } from '../support/replica.js';

// Every replica's clock is another one, up to half a second apart.
vi.mock('../../src/quorum/tokens.js', async (importActual) => {
  const { Tokens, wallClockUs } = await importActual<typeof TokensModule>();
  let made = 0;
  class SkewedTokens extends Tokens {
    constructor() {
      const skewUs = ((made += 1) % 5) * 125_000;
      super(() => wallClockUs() + skewUs);
    }
  }
  return { Tokens: SkewedTokens, wallClockUs };
});

const LEASE_MS = 1_500;
const KEYS = ['a', 'b'];
/** How long a replica does not reach one of the nodes, before it may be another one. */
const SPELL_MS = 40;

let servers: TestServer[];
const spells: NodeJS.Timeout[] = [];

beforeAll(async () => {
  servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
});

afterAll(async () => {
  for (const spell of spells) clearInterval(spell);
  await Promise.all(servers.map((server) => server.stop()));
});

test.each([
  ['none', 0, 1],
  ['one in ten', 0.1, 2],
  ['one in four', 0.25, 3],
])(
  'with %s of the commands and replies lost on each node, tokens stay in order, one leads at a time, nothing old answers',
  async (_, loss, seed) => {
    const random = randomFrom(seed);
    const log = new Log();
    const replicas = Array.from({ length: 6 }, () => join(random, loss, `chaos-${seed}`));
    for (const { link } of replicas) await link.opening;
    await Promise.all(replicas.map((replica) => act(replica, random, log)));
    for (const { heard } of replicas) for (const message of heard) if (message.kind === 'invalidated') log.unheard.push(message.floor);
    await Promise.all(replicas.map(({ link }) => link.close()));
    expect(log.violations()).toEqual([]);
    expect(log.counts().led).toBeGreaterThan(50);
    expect(log.counts().answered).toBeGreaterThan(10);
    expect(log.counts().fenced).toBeGreaterThan(5);
  },
);

/** One replica that leads, follows, invalidates and gives up at random for a while. */
async function act(replica: TestReplica, random: () => number, log: Log): Promise<void> {
  for (let step = 1; step <= 120; step += 1) {
    const key = KEYS[Math.floor(random() * KEYS.length)] ?? 'a';
    if (random() < 0.12) await fence(replica, key, log);
    else await fly(replica, key, replica.id(step), random, log);
  }
}

async function fence({ link }: TestReplica, key: string, log: Log): Promise<void> {
  const startedAt = performance.now();
  const token = await link.invalidate({ key }).catch(() => undefined);
  if (token !== undefined) log.fences.push({ key, token, startedAt, endedAt: performance.now() });
}

async function fly({ link, heard }: TestReplica, key: string, id: string, random: () => number, log: Log): Promise<void> {
  const startedAt = performance.now();
  // A claim whose reply was lost is sent again with the same id.
  const claimOnce = () => link.claim(claimOf(key, id)).catch(() => undefined);
  const claim = (await claimOnce()) ?? (await claimOnce());
  if (claim === undefined) return;
  if (claim.role === 'leader') {
    const term = { key, token: claim.fencingToken, startedAt, wonAt: performance.now(), endedAt: startedAt + LEASE_MS };
    log.terms.push(term);
    await sleep(random() * 8);
    term.endedAt = Math.min(term.endedAt, performance.now());
    await retried(() =>
      random() < 0.2
        ? link.release({ key, id })
        : link.settle({ key, id, token: claim.fencingToken, outcome: outcomeOf(key, claim.fencingToken) }),
    );
  } else if (claim.role === 'follower') {
    const answered = await answerFor(heard, id);
    if (answered === undefined) await retried(() => link.release({ key, id }));
    else log.answers.push({ key, token: answered.fencingToken, outcome: answered.outcome, startedAt });
  }
}

async function answerFor(heard: readonly Message[], id: string): Promise<Extract<Message, { kind: 'settled' }> | undefined> {
  for (let turn = 0; turn < 8; turn += 1) {
    for (const message of heard) if (message.kind === 'settled' && message.ids.includes(id)) return message;
    await sleep(5);
  }
  return undefined;
}

async function retried(operation: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; tries < 6; tries += 1) {
    try {
      await operation();
      return;
    } catch {
      await sleep(2);
    }
  }
}

function join(random: () => number, loss: number, prefix: string): TestReplica {
  let away = -1;
  const lots = setInterval(() => (away = loss > 0 && random() < 0.7 ? Math.floor(random() * 3) : -1), SPELL_MS).unref();
  spells.push(lots);
  const [a, b, c] = servers.map(({ host, port }, at) => new FlakyRedis({ host, port }, () => (away === at ? 0.9 : loss), random));
  if (a === undefined || b === undefined || c === undefined) throw new Error('expected three servers');
  const options = { prefix, leaseMs: LEASE_MS, commandTimeoutMs: 400, breaker: { enabled: false } };
  return joinReplica(quorumCoordinator({ nodes: [a, b, c], ...options }));
}

function outcomeOf(key: string, token: number): Outcome {
  return { kind: 'value', bytes: Buffer.from(`${key} ${token}`) };
}

/** What happened, and what of it must not have happened. Times are of this process's clock, so they order everything. */
class Log {
  readonly terms: { readonly key: string; readonly token: number; readonly startedAt: number; readonly wonAt: number; endedAt: number }[] =
    [];
  readonly fences: { readonly key: string; readonly token: number; readonly startedAt: number; readonly endedAt: number }[] = [];
  readonly answers: { readonly key: string; readonly token: number; readonly outcome: Outcome; readonly startedAt: number }[] = [];

  counts() {
    return { led: this.terms.length, answered: this.answers.length, fenced: this.fences.length };
  }

  violations(): string[] {
    return [...this.#disorder(), ...this.#rivals(), ...this.#staleAnswers()];
  }

  /** A token that was given out before another was asked for is below it. */
  #disorder(): string[] {
    const given = [
      ...this.terms.map((term) => ({ ...term, givenAt: term.wonAt })),
      ...this.fences.map((one) => ({ ...one, givenAt: one.endedAt })),
    ];
    return given.flatMap((one) =>
      given
        .filter((other) => other.key === one.key && one.givenAt < other.startedAt && one.token >= other.token)
        .map((other) => `${one.key}: ${one.token} was given before ${other.token} was asked for`),
    );
  }

  /** Two lead at the same time only if the key was invalidated in between. */
  #rivals(): string[] {
    return this.terms.flatMap((one) =>
      this.terms
        .filter((other) => other.key === one.key && one.token < other.token && other.wonAt < one.endedAt)
        .filter((other) => !this.fences.some(({ key, token }) => key === one.key && one.token < token && token < other.token))
        .filter((other) => !this.#fencedByTheLost(one, other))
        .map((other) => `${one.key}: ${one.token} and ${other.token} lead at the same time`),
    );
  }

  /** Invalidations whose reply was lost are not in the log. */
  #fencedByTheLost(one: { readonly token: number }, other: { readonly token: number }): boolean {
    return this.unheard.some((token) => one.token < token && token < other.token);
  }

  readonly unheard: number[] = [];

  /** Who asked after an invalidation had ended gets nothing from before it. */
  #staleAnswers(): string[] {
    return this.answers.flatMap((answer) =>
      this.fences
        .filter((fence) => fence.key === answer.key && fence.endedAt < answer.startedAt && answer.token <= fence.token)
        .map((fence) => `${answer.key}: ${answer.token} answered a call made after ${fence.token}`),
    );
  }
}
