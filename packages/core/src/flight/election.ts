import type { Kept } from '../caching.js';
import { asCoordinatorError, silent, type Claimant } from '../claimant.js';
import type { Clock, Timer } from '../clock.js';
import type { CacheRead, Claim, CopyRead, Outcome } from '../coordinator.js';
import type { CoordinatorError } from '../errors.js';
import type { FlightHost } from '../flight-host.js';
import { Mailbox } from '../mailbox.js';
import type { OneOfMany, Waiters } from '../waiters.js';
import { Lease } from './lease.js';
import type { Outcomes } from './outcomes.js';

/** A follower's recheck backs off up to this multiple of `recheckMs`. Coordinators keep waiters for at least twice that. */
const RECHECK_BACKOFF_MAX = 4;
/** The followers of a leader that is gone claim spread over this time: the first takes over, the others find its lease. */
const TAKEOVER_SPREAD_MS = 20;

/** Whose election it is. */
export interface Candidate {
  readonly waiters: Waiters;
  /** Whether anybody waits here. */
  readonly isWanted: boolean;
  /** Only a load that starts after the claim answers it. */
  readonly isStrict: boolean;
  /** How old a stored outcome may be that answers the claim. */
  readonly cacheRead: CacheRead | undefined;
  /** What a copy of a stored value in this process has to be that answers without a claim. */
  readonly copyRead: CopyRead | undefined;
  /** An invalidation came after what this flight waits for or holds: no call that comes from now on may join it. */
  leave(): void;
  /** Another replica leads. */
  onFollowing(): void;
}

/** What an election came to. */
export type Verdict =
  /** Load. What is stored but no longer fresh may be served meanwhile, or if the load fails. */
  | { readonly how: 'lead'; readonly lease: Lease; readonly attempt: number; readonly stale: Kept | undefined }
  /** Another replica loaded. */
  | { readonly how: 'settled'; readonly end: Kept['end']; readonly token: number }
  /** Another replica loaded, but its outcome is of no use here. */
  | { readonly how: 'unusable'; readonly why: 'untravelable' | 'private' }
  /** There is a stored outcome, undefined if it cannot be read. Elect again where it does not do for everybody. */
  | { readonly how: 'stored'; readonly kept: Kept | undefined }
  /** The coordinator is out of reach. */
  | { readonly how: 'unanswered'; readonly error: CoordinatorError }
  /** Nobody needs an outcome any more; what was claimed is given back. */
  | { readonly how: 'left' };

/** What it does next, decided by the coordinator's reply, a message, or time. */
type Wake =
  | { readonly why: 'replied'; readonly claim: Claim; readonly sentAt: number }
  | { readonly why: 'settled'; readonly outcome: Outcome; readonly token: number }
  | { readonly why: 'woken' | 'recheck' | 'vacated' | 'left' }
  | { readonly why: 'unanswered'; readonly error: CoordinatorError };

/** A message that names a flight. */
export type FlightMessage =
  | { readonly kind: 'settled'; readonly fencingToken: number; readonly outcome: Outcome }
  | { readonly kind: 'woken' | 'vacated' };

/** One flight's way through the coordinator: it claims, and waits while another replica leads, until it knows what to do. */
export class Election {
  readonly #host: FlightHost;
  readonly #claimant: Claimant;
  readonly #outcomes: Outcomes;
  readonly #candidate: Candidate;
  readonly #mailbox = new Mailbox<Wake>();
  #phase: 'asking' | 'following' | 'leading' | 'over' = 'asking';
  /** Its token if it leads; the lowest token that may answer it if it waits, which never grows; undefined before the first reply. */
  #mark: number | undefined;
  #hasClaimed = false;
  #rechecks = 0;
  #timer: Timer | undefined;
  /** A wake-up came before the reply of the claim that it is for. */
  #wokenEarly = false;
  /** A claim was sent whose fate is unknown: it may have left a lease or a waiter behind. */
  #claimUnknown = false;

  constructor(host: FlightHost, claimant: Claimant, outcomes: Outcomes, candidate: Candidate) {
    this.#host = host;
    this.#claimant = claimant;
    this.#outcomes = outcomes;
    this.#candidate = candidate;
  }

  /** Whether it still asks or waits. */
  get isOpen(): boolean {
    return this.#phase === 'asking' || this.#phase === 'following';
  }

  get isFollowing(): boolean {
    return this.#phase === 'following';
  }

  /** Whether a claim was sent: an invalidation may have been executed between it and a call that comes now. */
  get hasClaimed(): boolean {
    return this.#hasClaimed;
  }

  /** The key's floor now; undefined where it is not known. */
  floor(): Promise<number | undefined> {
    return this.#claimant.floor();
  }

  /** Whether an invalidation with this token is later than what it waits for or holds. */
  isFencedBy(floor: number): boolean {
    return this.#mark === undefined || this.#mark <= floor;
  }

  /** Claims, and again where need be, until there is a verdict. May run again after one. */
  run(): Promise<Verdict> {
    this.#phase = 'asking';
    const payment = this.#host.payInvalidation(this.#claimant.key);
    if (payment === undefined) return this.#run();
    return payment.then((failure) => (failure === undefined ? this.#run() : this.#close({ how: 'unanswered', error: failure })));
  }

  #run(): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const copy = this.#mark === undefined ? this.#claimant.copyOf(this.#candidate.copyRead) : undefined;
      if (copy !== undefined) {
        resolve(this.#close({ how: 'stored', kept: this.#outcomes.decodeStored(copy, this.#candidate.waiters.first()) }));
        return;
      }
      this.#ask(false);
      this.#mailbox.open((wake) => {
        try {
          this.#host.presence?.unwatch(this);
          const verdict = this.#onWake(wake);
          if (verdict === undefined) return;
          this.#mailbox.shut();
          resolve(this.#close(verdict));
        } catch (error) {
          this.#mailbox.shut();
          reject(asCoordinatorError(error));
        }
      });
    });
  }

  /** Takes a message. A flight that leads or loads on its own ignores its inbox. */
  receive(message: FlightMessage): void {
    if (!this.isOpen) return;
    // The claim's reply may still be on its way, on another connection: then the mark is unknown, and the server's word counts.
    if (message.kind === 'settled' && this.#mark !== undefined && message.fencingToken < this.#mark) return;
    if (message.kind === 'settled') this.#mailbox.post({ why: 'settled', outcome: message.outcome, token: message.fencingToken });
    else if (message.kind === 'woken') this.#mailbox.post({ why: 'woken' });
    else this.#claimSoon('vacated', TAKEOVER_SPREAD_MS);
  }

  /** Messages may have been lost: looks soon, at a moment of its own. */
  recheckSoon(withinMs: number): void {
    if (this.#phase === 'following') this.#claimSoon('recheck', withinMs);
  }

  /** Nobody is left to answer. */
  leave(): void {
    if (this.isOpen) this.#mailbox.post({ why: 'left' });
  }

  /** Gives back what a claim may have left behind whose fate is unknown. */
  releaseUnknown(failed: boolean): void {
    if (this.#claimUnknown) this.#claimant.release(failed);
  }

  /** The flight is over: what a claim still brings is nobody's. */
  end(): void {
    this.#phase = 'over';
    this.#timer?.cancel();
    this.#host.presence?.unwatch(this);
    const holdsUnread = this.#mailbox.drain().some((wake) => wake.why === 'replied' && holdsSomething(wake.claim));
    if (holdsUnread) this.#claimant.release();
  }

  // ---- Wake by wake -------------------------------------------------------------------------------------------------

  #onWake(wake: Wake): Verdict | undefined {
    switch (wake.why) {
      case 'replied':
        return this.#onClaim(wake.claim, wake.sentAt);
      case 'settled':
        return this.#take(wake.outcome, wake.token);
      case 'woken':
        // It may be meant for a claim whose reply is still on its way, and only that reply has the min to claim with.
        if (this.#phase === 'asking') this.#wokenEarly = true;
        else this.#ask(false);
        return undefined;
      case 'recheck':
        this.#ask(false);
        return undefined;
      case 'vacated':
        this.#ask(true);
        return undefined;
      case 'unanswered':
        return { how: 'unanswered', error: wake.error };
      case 'left':
        this.#claimant.release();
        return { how: 'left' };
    }
  }

  #onClaim(claim: Claim, sentAt: number): Verdict | undefined {
    switch (claim.role) {
      case 'settled':
        this.#host.report.elected(this.#claimant.id, 'settled');
        return this.#take(claim.outcome, claim.fencingToken);
      case 'cached':
      case 'stale':
        return { how: 'stored', kept: this.#outcomes.decodeStored(claim.stored, this.#candidate.waiters.first()) };
      case 'follower':
        return this.#follow(claim);
      case 'leader':
        if (this.#host.clock.now() - sentAt < this.#claimant.timings.leaseMs) return this.#lead(claim);
        this.#ask(false); // The lease that this reply grants may have ended on its way.
        return undefined;
    }
  }

  #follow(claim: Extract<Claim, { role: 'follower' }>): Verdict | undefined {
    if (!this.#candidate.isWanted) return this.#onWake({ why: 'left' }); // It only wanted to refresh, and another does.
    const { recheckMs } = this.#claimant.timings;
    this.#phase = 'following';
    this.#tellFirst('following');
    if (this.#mark === undefined) this.#host.report.elected(this.#claimant.id, 'lost', claim.flightId);
    this.#mark = Math.min(this.#mark ?? claim.min, claim.min);
    if (claim.floor >= this.#mark) this.#candidate.leave();
    const backoffMs = recheckMs * Math.min(2 ** this.#rechecks++, RECHECK_BACKOFF_MAX);
    const delayMs = Math.min(claim.leaseLeftMs, backoffMs) + (this.#jitter() * recheckMs) / 5;
    this.#after(delayMs, () => this.#mailbox.post({ why: 'recheck' }), this.#ofMany?.rechecks);
    this.#host.presence?.watch(this, claim.flightId);
    this.#candidate.onFollowing();
    if (this.#wokenEarly) this.#ask(false);
    return undefined;
  }

  #lead(claim: Extract<Claim, { role: 'leader' }>): Verdict {
    this.#host.report.elected(this.#claimant.id, this.#mark === undefined ? 'won' : 'takeover', this.#claimant.id);
    this.#mark = claim.fencingToken;
    const { stale, attempt } = claim;
    const kept = stale && this.#outcomes.decodeStored(stale, this.#candidate.waiters.first());
    const lease = new Lease(this.#host, this.#claimant, this.#outcomes, claim.fencingToken);
    return { how: 'lead', lease, attempt, stale: kept };
  }

  #take(outcome: Outcome, token: number): Verdict {
    this.#host.report.received(this.#claimant.id, outcome);
    if (outcome.kind === 'unshareable') return { how: 'unusable', why: outcome.why };
    const end = this.#outcomes.decode(outcome, this.#candidate.waiters.first());
    return end === undefined ? { how: 'unusable', why: 'untravelable' } : { how: 'settled', end, token };
  }

  #close(verdict: Verdict): Verdict {
    this.#phase = verdict.how === 'lead' ? 'leading' : 'over';
    this.#timer?.cancel();
    if (verdict.how === 'unanswered' && this.#mark !== undefined) this.#claimUnknown = true; // It is still registered as a waiter.
    if (verdict.how !== 'lead' && verdict.how !== 'stored') this.#mark = undefined;
    return verdict;
  }

  // ---- Claims -------------------------------------------------------------------------------------------------------

  /** Sends a claim, once more with the same id after half of the silence that means trouble, and gives up after all of it. */
  #ask(takeover: boolean): void {
    const { commandTimeoutMs } = this.#claimant.timings;
    this.#phase = 'asking';
    this.#wokenEarly = false;
    this.#tellFirst('asking');
    this.#claim(takeover);
    this.#afterSilence(commandTimeoutMs / 2, () => {
      this.#claim(takeover);
      this.#afterSilence(commandTimeoutMs / 2, () => this.#unanswered(silent(commandTimeoutMs)));
    });
  }

  /** Counts as asking from now on, so that a batch waits for all keys that it may get; calls at moments of their own. */
  #claimSoon(why: 'recheck' | 'vacated', withinMs: number): void {
    this.#tellFirst('asking');
    this.#after(this.#jitter() * withinMs, () => this.#mailbox.post({ why }));
  }

  #claim(takeover: boolean): void {
    const sentAt = this.#host.clock.now();
    const { isStrict, cacheRead } = this.#candidate;
    this.#hasClaimed = true;
    this.#claimant.claim(
      { min: this.#mark ?? 0, takeover, isStrict, cacheRead },
      (claim) => this.#onReply(claim, sentAt),
      (failure) => {
        if (failure.reason === 'timeout') this.#claimUnknown = true;
        else this.#unanswered(failure);
      },
    );
  }

  #onReply(claim: Claim, sentAt: number): void {
    this.#host.report.reached();
    if (this.isOpen) {
      this.#mailbox.post({ why: 'replied', claim, sentAt });
      return;
    }
    // Late: what this claim holds or waits for is nobody's, but for the lease of a leader whose claim was answered twice.
    const leads = this.#phase === 'leading';
    if (leads && this.isFencedBy(claim.floor)) this.#candidate.leave();
    if (holdsSomething(claim) && !(leads && claim.role === 'leader')) this.#claimant.release();
  }

  #unanswered(error: CoordinatorError): void {
    if (error.reason === 'timeout') this.#claimUnknown = true;
    if (this.#phase === 'asking') this.#mailbox.post({ why: 'unanswered', error });
  }

  #tellFirst(state: 'asking' | 'following'): void {
    this.#ofMany?.onElection(state);
  }

  /** Undefined where the caller whose loader would run is not one of many keys. */
  get #ofMany(): OneOfMany | undefined {
    return this.#candidate.waiters.first()?.ofMany;
  }

  /** From 0 to 1; the keys of one call have it in common. */
  #jitter(): number {
    return this.#ofMany?.rechecks.jitter ?? this.#host.random();
  }

  /** One timer: what it rings for is replaced, never added. */
  #after(delayMs: number, callback: () => void, timers: Pick<Clock, 'setTimer'> = this.#host.clock): void {
    this.#timer?.cancel();
    this.#timer = timers.setTimer(callback, delayMs);
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
