import { describe, expect, it } from 'vitest';
import { coordinatorContract, memoryHub, type ContractServer, type ContractSubject } from '../../src/testing/index.js';

const TITLE = 'the first claim of a key leads';
const NEEDS_CRASH = 'a takeover is granted, once, when the process of the leader is gone';

/** Runs the suite's definition with a runner that only takes notes. */
function define(skip: Record<string, string>, open: () => Promise<ContractServer> = bareServer) {
  const clauses = new Map<string, () => Promise<void>>();
  const skipped: string[] = [];
  const subject = {
    name: 'a subject',
    runner: {
      describe: (_title: string, body: () => void) => body(),
      it: Object.assign((title: string, body: () => Promise<void>) => void clauses.set(title, body), {
        skip: (title: string) => void skipped.push(title),
      }),
      expect,
    },
    open,
    skip,
  } satisfies ContractSubject;
  coordinatorContract(subject);
  return { clauses, skipped };
}

/** A server without the means to crash a replica or to forget. */
async function bareServer(): Promise<ContractServer> {
  const hub = memoryHub();
  return { coordinator: () => hub.coordinator(), advance: (ms) => hub.clock.advance(ms), close: async () => undefined };
}

describe('the coordinator contract', () => {
  it('leaves a clause out only with a reason, which is shown', () => {
    const { clauses, skipped } = define({ [TITLE]: 'this one never leads' });
    expect([skipped, clauses.has(TITLE)]).toEqual([[`${TITLE} (skipped: this one never leads)`], false]);
    expect(() => define({ [TITLE]: ' ' })).toThrow('expected a written reason');
  });

  it('refuses to skip what is no clause', () => {
    expect(() => define({ 'the first clam of a key leads': 'a slip of the pen' })).toThrow('expected the title of a clause');
  });

  it('fails a clause whose means are missing instead of passing it', async () => {
    await expect(define({}).clauses.get(NEEDS_CRASH)?.()).rejects.toThrow('offers no crash()');
  });

  it('closes what it opened, also when a clause fails', async () => {
    const closed: string[] = [];
    const { clauses } = define({}, async () => {
      const server = await bareServer();
      return { ...server, close: async () => void closed.push('server') };
    });
    await expect(clauses.get(NEEDS_CRASH)?.()).rejects.toThrow();
    await clauses.get(TITLE)?.();
    expect(closed).toEqual(['server', 'server']);
  });
});
