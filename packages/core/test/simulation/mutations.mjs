/*
 * Each takes one fix out of the protocol that a naive draft did not have (docs/protocol.md). The simulation must notice:
 * a fix that nobody would miss is either not needed or not tested. One that few runs need (`isRare`) is looked for in more.
 */
export const MUTATIONS = [
  {
    name: 'settle compares the id alone, not the token',
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'const isCurrent = ownsKey && state.flight?.token === token;',
        replace: 'const isCurrent = ownsKey;',
      },
    ],
  },
  {
    name: 'a claim sent again does not know its own lease',
    patches: [{ file: 'testing/memory-store.ts', find: 'this.#leadAgain(request) ??', replace: '' }],
  },
  {
    name: 'no recovery where the state was missing',
    patches: [recovery('min > 0 || state?.flight !== undefined')],
  },
  {
    name: 'no recovery where a waiter claims again',
    patches: [recovery('mayHaveWaiters || state?.flight !== undefined')],
  },
  {
    name: 'no recovery where a lease had ended',
    patches: [recovery('mayHaveWaiters || min > 0')],
  },
  {
    name: 'the issuer of an invalidation does not drop its own flight',
    patches: [
      {
        file: 'invalidations.ts',
        find: 'this.#host.keyInvalidated(key, failure === undefined ? this.#host.floors.get(key) : Number.POSITIVE_INFINITY);',
        replace: '',
      },
    ],
  },
  {
    name: 'new state starts with floor 0',
    patches: [{ file: 'testing/memory-store.ts', find: 'state?.floor ?? token - 1', replace: 'state?.floor ?? 0' }],
  },
  {
    name: 'a load without the coordinator does not release its claim',
    patches: [{ file: 'flight/election.ts', find: 'if (this.#claimUnknown) this.#claimant.release(failed);', replace: '' }],
  },
  {
    name: 'a follower whose callers have left does not release',
    patches: [{ file: 'flight/election.ts', find: "case 'left':\n        this.#claimant.release();\n", replace: "case 'left':\n" }],
  },
  {
    name: 'a leader whose callers have left before it loads does not release',
    patches: [
      {
        file: 'flight/flight.ts',
        find: 'if (leader === undefined) {\n      this.leave();\n      this.#giveBack(turn);',
        replace: 'if (leader === undefined) {\n      this.leave();',
      },
    ],
  },
  {
    name: 'a claim that is answered when nobody needs it is not released',
    patches: [{ file: 'flight/election.ts', find: 'if (holdsSomething(claim) &&', replace: 'if (claim === undefined &&' }],
  },
  {
    name: 'nobody is woken when nobody leads',
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'if (this.#leases.get(key) !== undefined) return [];',
        replace: 'if (key !== undefined) return [];',
      },
    ],
  },
  {
    name: 'a wake-up that comes while a claim is pending is forgotten',
    patches: [
      {
        file: 'flight/election.ts',
        find: receives(),
        replace: `${receives()}\n    if (message.kind === 'woken' && this.#phase === 'asking') return;`,
      },
    ],
  },
  {
    name: 'the min of a waiter grows when it claims again',
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'const min = Math.min(offered, waiters.get(id) ?? Infinity, request.min > 0 ? request.min : Infinity);',
        replace: 'const min = offered;',
      },
    ],
  },
  {
    name: 'a load without the coordinator takes outcomes of others',
    patches: [
      {
        file: 'flight/flight.ts',
        find: 'this.#election?.receive(message);',
        replace:
          "if (this.isLoading && this.#turn?.lease === undefined && message.kind === 'settled') void this.#take(new Outcomes(this.#host.link, this.#host.report, this.id).decode(message.outcome), message.fencingToken, this.#election); else this.#election?.receive(message);",
      },
    ],
  },
  {
    name: 'claims do not carry the floor',
    patches: [{ file: 'claimant.ts', find: 'const floor = this.#host.floors.get(this.#holder.key);', replace: 'const floor = 0;' }],
  },
  {
    name: 'a strict claim is registered for the running flight',
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'request.strict === true ? Math.max(lease.token + 1, nowUs) : lease.token',
        replace: 'lease.token',
      },
    ],
  },
  {
    name: 'a strict claim trusts the token of the lease it finds, old as that may be',
    isRare: true,
    patches: [{ file: 'testing/memory-store.ts', find: 'Math.max(lease.token + 1, nowUs)', replace: 'lease.token + 1' }],
  },
  {
    name: 'a strict caller joins the open flight',
    patches: [{ file: 'check-in.ts', find: "waiter.options.freshness === 'strict'", replace: 'waiter.options === undefined' }],
  },
  {
    name: 'a strict caller joins those whose claim was sent already',
    patches: [
      {
        file: 'flight/boarding.ts',
        find: 'return this.#next.get(key);',
        replace: 'return this.#next.get(key) ?? this.#departed.get(key);',
      },
    ],
  },
  {
    name: 'the next flight does not take off when the one before it has ended',
    patches: [
      {
        file: 'flight/boarding.ts',
        find: 'this.#departed.delete(flight.canonical); this.departSoon(flight.canonical);',
        replace: 'this.#departed.delete(flight.canonical);',
      },
    ],
  },
  {
    name: 'the next flight does not take off when the one before it follows',
    patches: [{ file: 'process-collapser.ts', find: 'this.#boarding.departSoon(flight.canonical);', replace: '' }],
  },
  {
    name: 'a caller who joined late is not confirmed',
    patches: [{ file: 'flight/flight.ts', find: 'if (known === undefined || known >= token) return;', replace: '' }],
  },
  {
    name: 'a caller who joins late counts as one who was there when the claim was sent',
    patches: [
      { file: 'flight/flight.ts', find: "waiter.options.freshness === 'confirmed' &&", replace: 'waiter.options === undefined &&' },
    ],
  },
  {
    name: 'a flight that an invalidation fenced stores its outcome',
    isOfStored: true,
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'if (isCurrent && token > state.floor && cache !== undefined) {',
        replace: 'if (state !== undefined && cache !== undefined) {',
      },
      { file: 'testing/memory-values.ts', find: 'if (entry.token <= floor) {', replace: 'if (entry === undefined) {' },
    ],
  },
  {
    name: 'an invalidation leaves what is stored',
    isOfStored: true,
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'this.#values.delete(key); this.#states',
        replace: 'this.#states',
      },
      { file: 'testing/memory-values.ts', find: 'if (entry.token <= floor) {', replace: 'if (entry === undefined) {' },
    ],
  },
  {
    name: 'a reader does not look at the age of what is stored',
    isOfStored: true,
    patches: [{ file: 'caching.ts', find: "if (ageMs < read.freshMs) return 'fresh';", replace: "return 'fresh';" }],
  },
  {
    name: 'each reader of a stale value refreshes it',
    isOfStored: true,
    patches: [
      {
        file: 'testing/memory-store.ts',
        find: 'if (lease === undefined || this.#mayTakeOver(lease, request)) return undefined;',
        replace: 'if (lease === undefined || request.cache !== undefined) return undefined;',
      },
    ],
  },
  {
    name: 'a load does not ask whether its tag was invalidated',
    isOfStored: true,
    patches: [{ file: 'claimant.ts', find: 'return last > since;', replace: 'return last > since + Infinity;' }],
  },
  {
    name: 'the tag clock is not read before the load',
    isOfStored: true,
    patches: [{ file: 'flight/lease.ts', find: 'this.#tagTime = await this.#claimant.tagTime();', replace: 'this.#tagTime = Infinity;' }],
  },
  {
    name: 'a key is not noted under its tags',
    isOfStored: true,
    patches: [{ file: 'claimant.ts', find: 'livesMs: livesMs ?? 0', replace: 'livesMs: 0' }],
  },
  {
    name: 'the invalidation of a tag does not wait for its keys',
    isOfStored: true,
    patches: [
      {
        file: 'tag-invalidation.ts',
        find: 'await Promise.all(keys.map((key) => host.invalidate(key)));',
        replace: 'void keys.map((key) => host.invalidate(key).catch(() => undefined));',
      },
    ],
  },
  {
    name: 'the issuer of an invalidation by tag does not drop its own flights',
    isOfStored: true,
    patches: [
      {
        file: 'process-collapser.ts',
        find: 'for (const flight of this.#boarding.openFlights()) if (flight.mayCarry(tag)) this.leave(flight);',
        replace: '',
      },
    ],
  },
  {
    name: 'an invalidation that failed is sent again only when its key is asked for here',
    patches: [{ file: 'repayment.ts', find: 'if (this.#isClosed) return;\n    this.#timer', replace: 'return;\n    this.#timer' }],
  },
  {
    name: 'an invalidation by tag that failed is forgotten',
    isOfStored: true,
    patches: [
      {
        file: 'invalidations.ts',
        find: 'if (this.#owedTags.size === 0 && !this.#owedKeys.has(key)) return undefined;',
        replace: 'if (!this.#owedKeys.has(key)) return undefined;',
      },
    ],
  },
  {
    name: 'those who wait are not let go when a load says that it is private',
    patches: [{ file: 'flight/flight.ts', find: 'if (waiter !== leader) this.#loadAlone(waiter);', replace: '' }],
  },
  {
    name: 'callers whose load may turn out to be private share a promise',
    patches: [{ file: 'flight/groups.ts', find: ' && !mayBePrivate', replace: '' }],
  },
];

function recovery(condition) {
  return {
    file: 'testing/memory-store.ts',
    find: 'const recovery = mayHaveWaiters || min > 0 || state?.flight !== undefined;',
    replace: `const recovery = ${condition};`,
  };
}

function receives() {
  return 'if (!this.isOpen) return;';
}
