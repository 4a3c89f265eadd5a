import type { Coordinator, CoordinatorLink } from '../coordinator.js';
import { caching } from './contract/caching.js';
import { claims } from './contract/claims.js';
import { freshness } from './contract/freshness.js';
import { invalidations } from './contract/invalidations.js';
import { leases } from './contract/leases.js';
import { outcomes } from './contract/outcomes.js';
import { recovery } from './contract/recovery.js';
import { releases } from './contract/releases.js';
import { tags } from './contract/tags.js';
import { LONG_LEASE, Stage, type Clause, type ContractExpect } from './contract/stage.js';

/**
 * Defines the suite that every coordinator must pass, one test per clause, with the runner that the subject brings
 * (vitest's `describe`, `it` and `expect` fit). It runs on manual and on real time.
 *
 * @throws TypeError when a skip names no clause or gives no reason.
 */
export function coordinatorContract(subject: ContractSubject): void {
  const { runner, name } = subject;
  const skip: Readonly<Record<string, string | undefined>> = subject.skip ?? {};
  for (const [title, reason] of Object.entries(skip)) {
    if (!Object.hasOwn(CLAUSES, title)) throw new TypeError(`expected the title of a clause in skip, got '${title}'`);
    if (reason === undefined || reason.trim() === '') throw new TypeError(`expected a written reason to skip '${title}', got none`);
  }
  runner.describe(`the coordinator contract, kept by ${name}`, () => {
    for (const [title, clause] of Object.entries<Clause>(CLAUSES)) {
      const reason = skip[title];
      if (reason === undefined) runner.it(title, () => keep(clause, subject));
      else runner.it.skip(`${title} (skipped: ${reason})`, () => keep(clause, subject));
    }
  });
}

async function keep(clause: Clause, subject: ContractSubject): Promise<void> {
  const timings = clause.timings ?? LONG_LEASE;
  const server = await subject.open(timings);
  const stage = new Stage(server, timings, subject.runner.expect);
  try {
    await clause.body(stage);
  } finally {
    await stage.close();
    await server.close();
  }
}

const CLAUSES = { ...claims, ...outcomes, ...leases, ...releases, ...invalidations, ...recovery, ...freshness, ...caching, ...tags };

/** The title of one clause of the contract. */
export type ContractClause = keyof typeof CLAUSES;

/** A coordinator under test, and the means to test it. */
export interface ContractSubject {
  readonly name: string;
  readonly runner: ContractRunner;
  /** Called once per clause. Clauses use keys of their own, so a server may be shared by them. */
  open(timings: ContractTimings): Promise<ContractServer>;
  /** Clauses that this coordinator cannot keep, each with the reason. */
  readonly skip?: Readonly<Partial<Record<ContractClause, string>>>;
}

/** The timings that a clause needs; a coordinator under test takes them over. In milliseconds. */
export interface ContractTimings {
  readonly leaseMs: number;
  readonly recheckMs: number;
}

/** What the replicas of one clause share. */
export interface ContractServer {
  /** A coordinator of its own for each replica, as if it were another process. */
  coordinator(): Coordinator;
  /** Lets time pass: moves a manual clock, or waits. Messages under way arrive meanwhile. */
  advance(ms: number): Promise<void>;
  /** The process of that replica dies without a goodbye. */
  crash?(coordinator: Coordinator, link: CoordinatorLink): Promise<void>;
  /** The server forgets everything that it knows of these clauses' keys. */
  wipe?(): Promise<void>;
  close(): Promise<void>;
}

/** The parts of a test runner that the suite uses; a value import of one would bind everybody to it. */
export interface ContractRunner {
  describe(title: string, body: () => void): unknown;
  readonly it: ContractIt;
  readonly expect: ContractExpect;
}

export interface ContractIt {
  (title: string, body: () => Promise<void>): unknown;
  skip(title: string, body: () => Promise<void>): unknown;
}
