import { Answers } from './answers.js';
import { acceptsIfError, cacheWriteOf, widestCacheRead, type Kept } from './caching.js';
import { asCoordinatorError, Claimant, silent } from './claimant.js';
import type { Timer } from './clock.js';
import type { CacheWrite, Claim, FlightId, KeyHash, Outcome, StoredOutcome } from './coordinator.js';
import { decodeError, encodeError } from './error-codec.js';
import type { CoordinatorError } from './errors.js';
import type { FlightHost } from './flight-host.js';
import type { CanonicalKey } from './key.js';
import { Load, type LoadEnd } from './load.js';
import { Mailbox } from './mailbox.js';
import { runInside } from './reentrancy.js';
import { Waiters, type Waiter } from './waiters.js';

/** A key whose load fails with an error that is not shared is loaded this many times in a row; then the error is shared. */
const ATTEMPTS_MAX = 3;
/** A follower's recheck backs off up to this multiple of `recheckMs`. Coordinators keep waiters for at least twice that. */
const RECHECK_BACKOFF_MAX = 4;

/** The followers of a leader that is gone claim spread over this time: the first takes over, the others find its lease. */
const TAKEOVER_SPREAD_MS = 20;

/** What a flight does next, decided by the coordinator's reply, a message, or time. */
type Wake =
  | { readonly why: 'replied'; readonly claim: Claim; readonly sentAt: number }
  | { readonly why: 'settled'; readonly outcome: Outcome }
  | { readonly why: 'woken' | 'recheck' | 'vacated' | 'left' }
  | { readonly why: 'unanswered'; readonly error: CoordinatorError };

/** A right, or a need, to run the loader here. Only with a token may its outcome leave this process. */
interface Turn {
  readonly source: 'leader' | 'degraded' | 'bypass';
  readonly token: number | undefined;
  readonly attempt: number;
}

/** A message that names a flight. */
export type FlightMessage =
  | { readonly kind: 'settled'; readonly fencingToken: number; readonly outcome: Outcome }
  | { readonly kind: 'woken' | 'vacated' };

/**
 * One flight of one key, as this replica sees it: it asks to lead, then leads (loads, answers, settles) or follows
 * (waits, takes the outcome). All callers of the key in this process wait for it together. docs/protocol.md has the rules.
 */
export class Flight {
  readonly id: FlightId;
  readonly canonical: CanonicalKey;
  readonly hash: KeyHash;
  readonly waiters: Waiters;
  readonly #host: FlightHost;
  readonly #claimant: Claimant | undefined;
  readonly #mailbox = new Mailbox<Wake>();
  #phase: 'asking' | 'following' | 'loading' | 'ended' = 'asking';
  /** Its token if it leads; the lowest token that may answer it if it waits, which never grows; undefined before the first reply. */
  #mark: number | undefined;
  #rechecks = 0;
  #timer: Timer | undefined;
  #load: Load | undefined;
  /** A wake-up came before the reply of the claim that it is for. */
  #wokenEarly = false;
  /** A claim was sent whose fate is unknown: it may have left a lease or a waiter behind. */
  #claimUnknown = false;
  /** The outcome turned out to be private to this caller: the others were let go. */
  #onlyFor: Waiter | undefined;
  /** It loads here without the coordinator, because of this. */
  #degradedBy: CoordinatorError | undefined;
  readonly #solos = new Map<Waiter, Load>();
  readonly #answers: Answers;
  /** What is stored was looked at and did not do for everybody: the next claim asks for a load. */
  #pastCache = false;
  /** A stored value that is not fresh any more, and when its age was told. */
  #stale: { readonly kept: Kept; readonly outcome: Outcome | undefined; readonly at: number } | undefined;
  /** Whose loader runs although nobody waits: a refresh of what callers were answered with. */
  #refresher: Waiter | undefined;

  constructor(host: FlightHost, id: FlightId, canonical: CanonicalKey, hash: KeyHash) {
    this.#host = host;
    this.id = id;
    this.canonical = canonical;
    this.hash = hash;
    this.#claimant = host.link && new Claimant(host, host.link, hash, id);
    this.waiters = new Waiters(id, host.clock, (waiter, outcome, waitedMs) => {
      host.report.left(id, outcome, waitedMs);
      if (outcome === 'timeout' || outcome === 'aborted') this.#onGaveUp(waiter);
    });
    this.#answers = new Answers(this.waiters, id);
  }

  /** One more caller; it is answered at once if what is stored, and being refreshed, does for it. */
  join(waiter: Waiter): void {
    this.waiters.add(waiter);
    if (this.#degradedBy !== undefined && waiter.options.whenDegraded === 'reject') this.waiters.fail(waiter, this.#degradedBy);
    const stale = this.#staleNow();
    if (stale !== undefined && this.#refresher !== undefined) this.#answers.giveStoredTo(waiter, stale);
  }

  /** Runs the flight to its end. Never rejects. */
  async fly(): Promise<void> {
    try {
      if (this.#host.opening !== undefined) await this.#host.opening;
      let turn = this.#claimant === undefined ? this.#electHere() : await this.#elect(this.#claimant);
      while (turn !== undefined) turn = await this.#takeTurn(turn);
      await this.#solosEnded();
    } catch (error) {
      // Only a coordinator or a codec that breaks its contract leads here; callers must not hang for it.
      this.#answers.failAll(error);
    }
    this.#end();
  }

  /** Loads at once and asks nobody, for a call that is not collapsed. Never rejects. */
  async flyAlone(): Promise<void> {
    await this.#takeTurn({ ...soloTurn('bypass'), attempt: ATTEMPTS_MAX });
    this.#end();
  }

  /** Whether its loader is running now. */
  get isLoading(): boolean {
    // The loader's first, synchronous part runs before there is a Load to ask.
    return this.#phase === 'loading' && this.#load?.running !== false;
  }

  /** Whether an invalidation with this token keeps it from answering calls that begin now. */
  isFencedBy(floor: number): boolean {
    return this.#mark === undefined || this.#mark <= floor;
  }

  /** Takes a message. A flight that leads or loads on its own ignores its inbox. */
  receive(message: FlightMessage): void {
    if (this.#phase !== 'asking' && this.#phase !== 'following') return;
    // The claim's reply may still be on its way, on another connection: then the mark is unknown, and the server's word counts.
    if (message.kind === 'settled' && this.#mark !== undefined && message.fencingToken < this.#mark) return;
    if (message.kind === 'settled') this.#mailbox.post({ why: 'settled', outcome: message.outcome });
    else if (message.kind === 'woken') this.#mailbox.post({ why: 'woken' });
    else this.#claimSoon('vacated', TAKEOVER_SPREAD_MS);
  }

  /** Messages may have been lost: look soon, at a moment of its own. */
  recheckSoon(withinMs: number): void {
    if (this.#phase === 'following') this.#claimSoon('recheck', withinMs);
  }

  /** Counts as asking from now on, so that a batch waits for all keys that it may get, each at a moment of its own. */
  #claimSoon(why: 'recheck' | 'vacated', withinMs: number): void {
    this.waiters.first()?.onElection?.('asking');
    this.#after(this.#host.random() * withinMs, () => this.#mailbox.post({ why }));
  }

  /** Ends it now: the collapser closes. */
  shut(error: unknown): void {
    this.#leave();
    this.#answers.failAll(error);
    this.#load?.abort(error);
    for (const load of this.#solos.values()) load.abort(error);
    if (this.#phase === 'asking' || this.#phase === 'following') this.#mailbox.post({ why: 'left' });
  }

  // ---- Electing: ask, and wait, until this replica is to load or the flight is answered -----------------------------

  /** Returns the turn to load, or undefined when somebody else's outcome answered the flight or nobody is left. */
  async #elect(claimant: Claimant): Promise<Turn | undefined> {
    const payment = this.#host.payInvalidation(this.hash);
    const failure = payment && (await payment);
    if (failure !== undefined) return this.#degrade(failure);
    this.#ask(claimant, false);
    for (;;) {
      const wake = await this.#mailbox.next();
      this.#host.presence?.unwatch(this);
      switch (wake.why) {
        case 'replied': {
          const next = this.#onClaim(claimant, wake.claim, wake.sentAt);
          if (next !== 'wait') return next;
          break;
        }
        case 'settled':
          return this.#take(wake.outcome, claimant);
        case 'woken':
          // It may be meant for a claim whose reply is still on its way, and only that reply has the min to claim with.
          if (this.#phase === 'asking') this.#wokenEarly = true;
          else this.#ask(claimant, false);
          break;
        case 'recheck':
          this.#ask(claimant, false);
          break;
        case 'vacated':
          this.#ask(claimant, true);
          break;
        case 'unanswered':
          return this.#degrade(wake.error);
        case 'left':
          claimant.release();
          return undefined;
      }
    }
  }

  #onClaim(claimant: Claimant, claim: Claim, sentAt: number): Turn | undefined | 'wait' {
    switch (claim.role) {
      case 'settled':
        this.#host.report.elected(this.id, 'settled');
        return this.#take(claim.outcome, claimant);
      case 'cached':
      case 'stale':
        return this.#takeStored(claim.stored, claimant);
      case 'follower':
        if (this.#refresher !== undefined && this.waiters.size === 0) return this.#refreshedElsewhere(claimant);
        this.#follow(claimant, claim);
        if (this.#wokenEarly) this.#ask(claimant, false);
        return 'wait';
      case 'leader':
        if (this.#host.clock.now() - sentAt < claimant.timings.leaseMs) return this.#lead(claim, claimant);
        this.#ask(claimant, false); // The lease that this reply grants may have ended on its way.
        return 'wait';
    }
  }

  /** Sends a claim, once more with the same id after half of the silence that means trouble, and gives up after all of it. */
  #ask(claimant: Claimant, takeover: boolean): void {
    const { commandTimeoutMs } = claimant.timings;
    this.#phase = 'asking';
    this.#wokenEarly = false;
    this.waiters.first()?.onElection?.('asking');
    this.#claim(claimant, takeover);
    this.#afterSilence(commandTimeoutMs / 2, () => {
      this.#claim(claimant, takeover);
      this.#afterSilence(commandTimeoutMs / 2, () => this.#unanswered(silent(commandTimeoutMs)));
    });
  }

  #claim(claimant: Claimant, takeover: boolean): void {
    const sentAt = this.#host.clock.now();
    const cache = this.#pastCache ? undefined : widestCacheRead(this.waiters.all());
    claimant.claim(this.#mark ?? 0, takeover, cache).then(
      (claim) => this.#onReply(claimant, claim, sentAt),
      (error: unknown) => {
        const failure = asCoordinatorError(error);
        if (failure.reason === 'timeout') this.#claimUnknown = true;
        else this.#unanswered(failure);
      },
    );
  }

  #onReply(claimant: Claimant, claim: Claim, sentAt: number): void {
    this.#host.report.reached();
    if (this.#phase === 'asking' || this.#phase === 'following') {
      this.#mailbox.post({ why: 'replied', claim, sentAt });
      return;
    }
    // Late: what this claim holds or waits for is nobody's, but for the lease of a leader whose claim was answered twice.
    const leads = this.#phase === 'loading' && this.#mark !== undefined;
    if (leads && this.isFencedBy(claim.floor)) this.#leave();
    if (holdsSomething(claim) && !(leads && claim.role === 'leader')) claimant.release();
  }

  #unanswered(error: CoordinatorError): void {
    if (error.reason === 'timeout') this.#claimUnknown = true;
    if (this.#phase === 'asking') this.#mailbox.post({ why: 'unanswered', error });
  }

  #follow(claimant: Claimant, claim: Extract<Claim, { role: 'follower' }>): void {
    const { recheckMs } = claimant.timings;
    this.#phase = 'following';
    this.waiters.first()?.onElection?.('following');
    if (this.#mark === undefined) this.#host.report.elected(this.id, 'lost', claim.flightId);
    this.#mark = Math.min(this.#mark ?? claim.min, claim.min);
    if (claim.floor >= this.#mark) this.#leave();
    const jitterMs = (this.#host.random() * recheckMs) / 5;
    const backoffMs = recheckMs * Math.min(2 ** this.#rechecks++, RECHECK_BACKOFF_MAX);
    this.#after(Math.min(claim.leaseLeftMs, backoffMs) + jitterMs, () => this.#mailbox.post({ why: 'recheck' }));
    this.#host.presence?.watch(this, claim.flightId);
  }

  #lead(claim: Extract<Claim, { role: 'leader' }>, claimant: Claimant): Turn {
    this.#host.report.elected(this.id, this.#mark === undefined ? 'won' : 'takeover', this.id);
    this.#mark = claim.fencingToken;
    if (claim.stale !== undefined) this.#serveStale(this.#decoded(claim.stale, claimant), claim.stale.outcome);
    return { source: 'leader', token: claim.fencingToken, attempt: claim.attempt };
  }

  #degrade(error: CoordinatorError): Turn {
    if (this.#mark !== undefined) this.#claimUnknown = true; // It is still registered as a waiter.
    this.#mark = undefined;
    this.#degradedBy = error;
    this.#host.report.unreached(error);
    for (const waiter of this.waiters.all()) {
      if (waiter.options.whenDegraded === 'reject') this.waiters.fail(waiter, error);
    }
    return soloTurn('degraded');
  }

  // ---- Loading: run the loader, answer the callers here, settle for the others --------------------------------------

  /** Runs the loader once. Returns the next turn where an error is not shared and somebody is left to try again. */
  async #takeTurn(turn: Turn): Promise<Turn | undefined> {
    const leader = this.#refresher ?? this.waiters.first();
    this.#phase = 'loading';
    this.#timer?.cancel();
    if (leader === undefined) {
      this.#leave();
      this.#giveBack(turn);
      return undefined;
    }
    this.#load = undefined;
    this.#load = this.#startLoad(leader, turn.token, () => this.#letOthersGo(leader, turn));
    this.#renewLater(turn.token);
    const end = await this.#load.end;
    const loadMs = this.#host.clock.now() - this.#load.startedAt;
    this.#timer?.cancel();
    const followers = this.waiters.size - (this.waiters.has(leader) ? 1 : 0);
    this.#host.report.loadEnded(this.id, turn.source, end, loadMs, this.#onlyFor === undefined ? followers : 0);
    return this.#land(turn, leader, end, cacheWriteOf(leader.options, loadMs));
  }

  #land(turn: Turn, leader: Waiter, end: LoadEnd, cache: CacheWrite | undefined): Turn | undefined | Promise<Turn | undefined> {
    if (this.#onlyFor !== undefined) {
      this.#answers.giveEnd(leader, turn.source, end);
      return undefined;
    }
    if (end.how === 'error' && turn.attempt < ATTEMPTS_MAX && !sharesError(leader, end.error))
      return this.#tryNext(turn, leader, end.error);
    const mayStore = this.#claimant === undefined && this.#host.isJoinable(this);
    this.#leave();
    if (end.how === 'aborted') {
      this.#giveBack(turn);
      return undefined;
    }
    if (mayStore && cache !== undefined) this.#host.values.write(this.canonical, end, cache);
    if (end.how === 'value') {
      this.#answers.giveAll(end.value, leader, turn.source);
      this.#settle(turn, (claimant) => ({ kind: 'value', bytes: codecOf(leader, claimant).encode(end.value) }), cache);
      return undefined;
    }
    this.#landFailed(turn, leader, end.error, cache);
    return undefined;
  }

  /** A stale value, where there is one and it is wanted, is better than the error. */
  #landFailed(turn: Turn, leader: Waiter, error: unknown, cache: CacheWrite | undefined): void {
    const stale = this.#staleNow();
    const staleOutcome = stale !== undefined && acceptsIfError(leader, stale) ? this.#stale?.outcome : undefined;
    if (stale !== undefined) this.#answers.giveStaleIfError(stale);
    this.#answers.failAll(error);
    if (staleOutcome === undefined)
      this.#settle(turn, (claimant) => ({ kind: 'error', bytes: encodeError(error, { codec: claimant.codec }) }), cache);
    else this.#settle(turn, () => staleOutcome, undefined);
  }

  /** The error is the leader's alone: the next waiter, here or on another replica, takes over with a load of its own. */
  async #tryNext(turn: Turn, leader: Waiter, error: unknown): Promise<Turn | undefined> {
    this.waiters.fail(leader, error);
    this.#giveBack(turn, true);
    if (this.waiters.size === 0) {
      this.#leave();
      return undefined;
    }
    if (this.#claimant === undefined || turn.token === undefined) return { ...turn, attempt: turn.attempt + 1 };
    return this.#elect(this.#claimant);
  }

  #startLoad(waiter: Waiter, token: number | undefined, onUnshareable: () => void): Load {
    this.#host.report.loadStarted();
    return new Load({
      key: waiter.key,
      flightId: this.id,
      fencingToken: token,
      loader: waiter.loader,
      loadTimeoutMs: waiter.options.loadTimeoutMs,
      clock: this.#host.clock,
      around: (run) => runInside(this, run),
      onUnshareable,
    });
  }

  /** The outcome will be private to `leader`: everybody else, here and on other replicas, loads for itself from now on. */
  #letOthersGo(leader: Waiter, turn: Turn): void {
    if (this.#onlyFor !== undefined) return;
    this.#onlyFor = leader;
    this.#leave();
    for (const waiter of this.waiters.all()) {
      if (waiter !== leader) this.#loadAlone(waiter);
    }
    this.#host.report.unshareable(this.id, 'private');
    this.#settle(turn, () => ({ kind: 'unshareable', why: 'private' }), undefined);
    if (!this.waiters.has(leader)) this.#load?.abort(nobodyWaits());
  }

  #loadAlone(waiter: Waiter): void {
    const load = this.#startLoad(waiter, undefined, () => {});
    this.#solos.set(waiter, load);
    void load.end.then((end) => {
      this.#solos.delete(waiter);
      this.#host.report.loadEnded(this.id, 'bypass', end, this.#host.clock.now() - load.startedAt, 0);
      this.#answers.giveEnd(waiter, 'bypass', end);
    });
  }

  async #solosEnded(): Promise<void> {
    while (this.#solos.size > 0) await Promise.all(Array.from(this.#solos.values(), (load) => load.end));
  }

  // ---- Following: take what another replica loaded ------------------------------------------------------------------

  /** Answers the callers here with an outcome from elsewhere, or returns a turn where it cannot be used. */
  #take(outcome: Outcome, claimant: Claimant): Turn | undefined {
    const first = this.waiters.first();
    if (outcome.kind === 'unshareable') return this.#takeNothing(outcome.why);
    if (outcome.kind === 'error') {
      this.#leave();
      this.#answers.failAll(decodeError(outcome.bytes, { codec: claimant.codec, flightId: this.id }));
      return undefined;
    }
    let value: unknown;
    try {
      value = codecOf(first, claimant).decode(outcome.bytes);
    } catch {
      this.#host.report.unreadable();
      return this.#takeNothing('untravelable');
    }
    this.#leave();
    this.#answers.giveAll(value, first, 'remote');
    return undefined;
  }

  #takeNothing(why: 'untravelable' | 'private'): Turn | undefined {
    this.#mark = undefined;
    if (why === 'untravelable') return { ...soloTurn('bypass'), attempt: ATTEMPTS_MAX };
    this.#phase = 'loading';
    this.#timer?.cancel();
    this.#leave();
    for (const waiter of this.waiters.all()) this.#loadAlone(waiter);
    return undefined;
  }

  // ---- What is stored -----------------------------------------------------------------------------------------------

  /** Without a coordinator: what is stored in this process, or a turn to load. */
  #electHere(): Turn | undefined {
    const read = widestCacheRead(this.waiters.all());
    if (read === undefined) return soloTurn('leader');
    const kept = this.#host.values.value(this.canonical);
    const error = this.#host.values.error(this.canonical);
    const failedLately = error !== undefined && error.ageMs < read.freshErrorMs;
    const answer =
      kept !== undefined && kept.ageMs < (failedLately ? read.staleMs : read.freshMs) ? kept : failedLately ? error : undefined;
    const isBetterThanError = kept !== undefined && kept.ageMs < read.staleIfErrorMs;
    if (answer !== undefined && !(answer === error && isBetterThanError) && this.#giveStored(answer)) return undefined;
    if (kept !== undefined) this.#serveStale(kept, undefined);
    return soloTurn('leader');
  }

  /** Answers with what the coordinator stored; whoever needs more has the flight ask for a load. */
  #takeStored(stored: StoredOutcome, claimant: Claimant): undefined | 'wait' {
    const kept = this.#decoded(stored, claimant);
    this.#pastCache = true;
    if (kept !== undefined && this.#giveStored(kept)) return undefined;
    this.#ask(claimant, false);
    return 'wait';
  }

  /** Returns whether that was all: everybody is answered, and nobody asked to refresh it early. */
  #giveStored(kept: Kept): boolean {
    const { refresh } = this.#answers.giveStored(kept, () => this.#host.random());
    if (refresh !== undefined) {
      this.#refresher = refresh;
      this.#stale = { kept, outcome: undefined, at: this.#host.clock.now() };
      return false;
    }
    if (this.waiters.size > 0) return false;
    this.#leave();
    return true;
  }

  /** This flight loads: meanwhile a stale value answers those who accept it, now and when they join. */
  #serveStale(kept: Kept | undefined, outcome: Outcome | undefined): void {
    if (kept === undefined) return;
    const first = this.waiters.first();
    this.#stale = { kept, outcome, at: this.#host.clock.now() };
    this.#answers.giveStored(kept, () => 0);
    if (first !== undefined && !this.waiters.has(first)) this.#refresher = first;
  }

  /** Another replica refreshes what was served: this one has nothing left to do. */
  #refreshedElsewhere(claimant: Claimant): undefined {
    this.#leave();
    claimant.release();
    return undefined;
  }

  #staleNow(): Kept | undefined {
    if (this.#stale === undefined) return undefined;
    const { kept, at } = this.#stale;
    return { ...kept, ageMs: kept.ageMs + this.#host.clock.now() - at };
  }

  #decoded({ outcome, ageMs, loadMs }: StoredOutcome, claimant: Claimant): Kept | undefined {
    if (outcome.kind === 'unshareable') return undefined;
    if (outcome.kind === 'error') {
      return { end: { how: 'error', error: decodeError(outcome.bytes, { codec: claimant.codec, flightId: this.id }) }, ageMs, loadMs };
    }
    try {
      return { end: { how: 'value', value: codecOf(this.waiters.first(), claimant).decode(outcome.bytes) }, ageMs, loadMs };
    } catch {
      this.#host.report.unreadable();
      return undefined;
    }
  }

  // ---- The lease ----------------------------------------------------------------------------------------------------

  #renewLater(token: number | undefined): void {
    const claimant = this.#claimant;
    if (claimant === undefined || token === undefined) return;
    this.#after(claimant.timings.leaseMs / 3, () => void this.#renew(claimant, token));
  }

  /** Extends the lease, and learns whether it is lost and whether anybody on any replica still waits. */
  async #renew(claimant: Claimant, token: number): Promise<void> {
    this.#timer?.cancel();
    try {
      const renewal = await claimant.renew(token);
      if (renewal.state === 'detached') {
        this.#host.report.detached(this.id, (renewal.floor ?? 0) >= token ? 'invalidated' : 'lease_lost');
        this.#leave();
        return;
      }
      if (renewal.waiters === 0 && this.waiters.size === 0 && this.#refresher === undefined) this.#abortLoad();
    } catch {
      // Out of reach: the lease may end and another replica may load too. The load here goes on for those who wait here.
    }
    if (this.isLoading) this.#renewLater(token);
  }

  #settle(turn: Turn, encode: (claimant: Claimant) => Outcome, cache: CacheWrite | undefined): void {
    const claimant = this.#claimant;
    if (claimant === undefined || turn.token === undefined) {
      this.#giveBack(turn);
      return;
    }
    const outcome = this.#encoded(() => encode(claimant), claimant.payloadBytesMax);
    this.#host.report.settled(this.id, outcome.kind === 'unshareable' ? 0 : outcome.bytes.byteLength);
    claimant.settle(turn.token, outcome, cache);
  }

  #encoded(encode: () => Outcome, bytesMax: number): Outcome {
    try {
      const outcome = encode();
      if (outcome.kind === 'unshareable' || outcome.bytes.byteLength <= bytesMax) return outcome;
    } catch {
      // What it says may quote the value.
    }
    this.#host.report.unshareable(this.id, 'untravelable');
    return { kind: 'unshareable', why: 'untravelable' };
  }

  /** Gives up what this flight holds, or may hold, at the coordinator. */
  #giveBack(turn: Turn, failed = false): void {
    if (turn.token !== undefined || this.#claimUnknown) this.#claimant?.release(failed);
  }

  // ---- Housekeeping -------------------------------------------------------------------------------------------------

  #onGaveUp(waiter: Waiter): void {
    this.#solos.get(waiter)?.abort(nobodyWaits());
    if (waiter === this.#onlyFor) this.#abortLoad();
    if (this.waiters.size > 0 || this.#refresher !== undefined) return;
    if (this.#phase === 'asking' || this.#phase === 'following') {
      this.#leave();
      this.#mailbox.post({ why: 'left' });
      return;
    }
    if (this.#claimant === undefined || this.#mark === undefined || this.#onlyFor !== undefined) this.#abortLoad();
    else void this.#renew(this.#claimant, this.#mark); // Others may wait on other replicas: the reply tells.
  }

  #abortLoad(): void {
    this.#leave();
    this.#load?.abort(nobodyWaits());
  }

  /** No call that comes from now on joins this flight. */
  #leave(): void {
    this.#host.leave(this);
  }

  #end(): void {
    this.#leave();
    this.#timer?.cancel();
    this.#host.presence?.unwatch(this);
    this.#phase = 'ended';
    const holdsUnread = this.#mailbox.drain().some((wake) => wake.why === 'replied' && holdsSomething(wake.claim));
    if (holdsUnread) this.#claimant?.release();
    this.#host.ended(this);
  }

  /** One timer per flight: what it rings for is replaced, never added. */
  #after(delayMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#host.clock.setTimer(callback, delayMs);
  }

  #afterSilence(silenceMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#host.pulse.afterSilence(silenceMs, callback);
  }
}

/** Whether a claim left a lease or a waiter at the coordinator. */
function holdsSomething({ role }: Claim): boolean {
  return role === 'leader' || role === 'follower';
}

function soloTurn(source: Turn['source']): Turn {
  return { source, token: undefined, attempt: 1 };
}

function codecOf(waiter: Waiter | undefined, claimant: Claimant) {
  return waiter?.options.codec ?? claimant.codec;
}

function sharesError(leader: Waiter, error: unknown): boolean {
  const { shareErrors } = leader.options;
  if (typeof shareErrors === 'boolean') return shareErrors;
  try {
    return shareErrors(error);
  } catch {
    return true;
  }
}

function nobodyWaits(): DOMException {
  return new DOMException('nobody waits for this load any more', 'AbortError');
}
