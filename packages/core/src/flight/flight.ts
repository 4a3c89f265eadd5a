import { Answers } from '../answers.js';
import { cacheWriteOf, type Kept } from '../caching.js';
import { Claimant } from '../claimant.js';
import type { Clock } from '../clock.js';
import type { CacheRead, CacheWrite, CopyRead, FlightId, KeyHash, Renewal } from '../coordinator.js';
import type { CoordinatorError } from '../errors.js';
import type { Deadlines } from '../deadlines.js';
import type { FlightHost } from '../flight-host.js';
import type { CanonicalKey } from '../key.js';
import { Load, type LoadEnd, type LoadOwner } from '../load.js';
import { hasTags, tagsOf } from '../tags.js';
import { Waiters, type Awaited, type CallOutcome, type Waiter } from '../waiters.js';
import { Election, type Candidate, type FlightMessage } from './election.js';
import type { Group } from './groups.js';
import type { Lease } from './lease.js';
import { Outcomes, type Landed } from './outcomes.js';
import { Stored } from './stored.js';

/** A key whose load fails with an error that is not shared is loaded this many times in a row; then the error is shared. */
const ATTEMPTS_MAX = 3;

/** A right, or a need, to run the loader here. Only with a lease may its outcome leave this process. */
interface Turn {
  readonly source: 'leader' | 'degraded' | 'bypass';
  readonly lease: Lease | undefined;
  readonly attempt: number;
  /** Nobody can join it. */
  readonly isAlone?: boolean;
  /** It is known when any tag was last invalidated: asked before a load whose outcome carries tags. */
  readonly hasTagTime?: boolean;
}

/** What a flight does next: it loads, or it is at its end. */
type Step = Turn | undefined;

/**
 * One flight of one key, as this replica sees it. An election says whether it leads (loads, answers, settles) or takes what
 * another replica loaded. All callers of the key in this process wait for it together. docs/protocol.md has the rules.
 */
export class Flight implements Candidate, Awaited, LoadOwner {
  readonly id: FlightId;
  readonly canonical: CanonicalKey;
  readonly hash: KeyHash;
  readonly waiters: Waiters;
  readonly #host: FlightHost;
  readonly #answers: Answers;
  readonly #stored: Stored;
  /**
   * Those who joined after the claim was sent and ask for a confirmed outcome: an invalidation that resolved before their
   * call may have come in between. They wait apart until the load starts, or until the key's floor tells.
   */
  #late: Waiters | undefined;
  #hasTakenOff = false;
  #election: Election | undefined;
  /** The load that answers all, and by which right it runs or ran. */
  #load: Load | undefined;
  #turn: Turn | undefined;
  /** It loads here without the coordinator, because of this. */
  #degradedBy: CoordinatorError | undefined;
  /** The outcome turned out to be private to this caller: the others were let go. */
  #onlyFor: Waiter | undefined;
  /** How many have been answered with what the load offered before its end. */
  #answeredEarly = 0;
  #isShut = false;
  /** Those who joined last, if callers may still come along with them. */
  group: Group | undefined;
  /** The loads of those who were let go, each for itself. */
  #solos: Map<Waiter, Load> | undefined;
  /** Nothing is left to do but these. */
  #hasArrived = false;

  constructor(host: FlightHost, id: FlightId, canonical: CanonicalKey, hash: KeyHash) {
    this.#host = host;
    this.id = id;
    this.canonical = canonical;
    this.hash = hash;
    this.waiters = new Waiters(this);
    this.#answers = new Answers(this.waiters);
    this.#stored = new Stored(host, this.waiters, this.#answers);
  }

  /** Sends it on its way, to its end. Never throws. */
  fly(): void {
    const { link, opening } = this.#host;
    this.#hasTakenOff = true;
    if (link !== undefined) {
      const claimant = new Claimant(this.#host, link, this.hash, this.id);
      this.#election = new Election(this.#host, claimant, new Outcomes(link, this.#host.report, this.id), this);
    }
    if (opening === undefined) this.#elect();
    else void opening.then(() => this.#elect());
  }

  /** Loads at once and asks nobody, for a call that is not collapsed. Never throws. */
  flyAlone(): void {
    this.#hasTakenOff = true;
    this.#go(() => ({ ...soloTurn('bypass'), attempt: ATTEMPTS_MAX, isAlone: true }));
  }

  /** One more caller; it is answered at once if what is stored, and being refreshed, does for it. */
  join(waiter: Waiter): void {
    if (waiter.options.freshness === 'confirmed' && this.#election?.hasClaimed === true) {
      this.#late ??= new Waiters(this);
      this.#late.add(waiter);
      waiter.ofMany?.onElection('following');
      return;
    }
    this.board(waiter);
    this.#stored.answerOne(waiter);
    if (this.#load?.offer !== undefined && this.waiters.has(waiter)) this.#offerTo(waiter, this.#load.offer.early);
  }

  /** One more caller, before its load has started. */
  board(waiter: Waiter): void {
    this.waiters.add(waiter);
    if (this.#degradedBy !== undefined && waiter.options.whenDegraded === 'reject') this.waiters.fail(waiter, this.#degradedBy);
  }

  /** It will not take off; its callers wait elsewhere. */
  disband(): readonly Waiter[] {
    const callers = this.waiters.handOver();
    this.#end();
    return callers;
  }

  /** No call that comes from now on joins this flight. */
  leave(): void {
    this.#host.leave(this);
  }

  /** Ends it now: the collapser closes. */
  shut(error: unknown): void {
    this.#isShut = true;
    this.leave();
    this.#answers.failAll(error);
    this.#late?.failAll(error);
    this.#load?.abort(error);
    for (const load of this.#solos?.values() ?? []) load.abort(error);
    this.#election?.leave();
    if (!this.#hasTakenOff) this.#end();
  }

  receive(message: FlightMessage): void {
    this.#election?.receive(message);
  }

  recheckSoon(withinMs: number): void {
    this.#election?.recheckSoon(withinMs);
  }

  /** Whether an invalidation with this token keeps it from answering calls that begin now. */
  isFencedBy(floor: number): boolean {
    return this.#election?.isFencedBy(floor) !== false;
  }

  /** Whether its outcome may carry this tag. A function says so only once there is a value. */
  mayCarry(tag: string): boolean {
    const tags = this.#leader?.options.tags;
    return typeof tags === 'function' || tags?.some((name) => this.#host.tagName(name) === tag) === true;
  }

  /** Whether a loader of it is running now. */
  get isLoading(): boolean {
    return this.#load?.running === true || this.#hasSolos;
  }

  /** Whether it waits for what another replica loads. */
  get isFollowing(): boolean {
    return this.#election?.isFollowing === true;
  }

  /** How many callers wait for it. */
  get callers(): number {
    return this.waiters.callers + (this.#late?.callers ?? 0);
  }

  get isWanted(): boolean {
    return this.callers > 0;
  }

  get isStrict(): boolean {
    return this.waiters.all().some(({ options }) => options.freshness === 'strict');
  }

  get copyRead(): CopyRead | undefined {
    return this.#stored.copyRead;
  }

  get cacheRead(): CacheRead | undefined {
    return this.isStrict ? undefined : this.#stored.cacheRead;
  }

  onFollowing(): void {
    this.#host.makeWay(this);
  }

  get clock(): Clock {
    return this.#host.clock;
  }

  get deadlines(): Deadlines {
    return this.#host.deadlines;
  }

  // ---- The way: elect, load, land, and again where an error is not shared ---------------------------------------------

  #elect(): void {
    const election = this.#election;
    this.#go(() => (election === undefined ? this.#electHere() : this.#electAmongAll(election)));
  }

  /** One step, and the next: a turn to load, or the end. Only a coordinator or a codec that breaks its contract throws. */
  #go(step: () => Step | Promise<Step>): void {
    try {
      const next = step();
      if (next instanceof Promise) this.#goOn(next);
      else if (next === undefined) this.#arrive();
      else this.#takeTurn(next);
    } catch (error) {
      this.#crash(error);
    }
  }

  #goOn(next: Promise<Step>): void {
    next.then(
      (turn) => this.#go(() => turn),
      (error: unknown) => this.#crash(error),
    );
  }

  /** Callers must not hang for it. */
  #crash(error: unknown): void {
    this.#answers.failAll(error);
    this.#arrive();
  }

  #arrive(): void {
    this.#hasArrived = true;
    if (!this.#hasSolos) this.#end();
  }

  // ---- Electing: until this replica is to load, or the flight is answered, or nobody is left ------------------------

  async #electAmongAll(election: Election): Promise<Step> {
    for (;;) {
      const verdict = await election.run();
      switch (verdict.how) {
        case 'lead':
          this.#stored.serveStale(verdict.stale);
          return { source: 'leader', lease: verdict.lease, attempt: verdict.attempt };
        case 'settled':
          return this.#take(verdict.end, verdict.token, election);
        case 'unusable':
          return this.#takeNothing(verdict.why);
        case 'stored':
          if (this.#stored.answer(verdict.kept)) return this.#leaveAnswered();
          break; // Whoever needs more has it ask for a load.
        case 'unanswered':
          return this.#degrade(verdict.error);
        case 'left':
          return this.#leaveAnswered();
      }
    }
  }

  /** Without a coordinator: what is stored in this process answers, or this flight loads. */
  #electHere(): Turn | undefined {
    return this.#stored.answerHere(this.canonical) ? this.#leaveAnswered() : HERE;
  }

  #degrade(error: CoordinatorError): Turn {
    this.#degradedBy = error;
    this.#host.report.unreached(error);
    for (const waiter of this.waiters.all()) {
      if (waiter.options.whenDegraded === 'reject') this.waiters.fail(waiter, error);
    }
    return soloTurn('degraded');
  }

  #leaveAnswered(): undefined {
    this.leave();
    return undefined;
  }

  // ---- Taking what another replica loaded ---------------------------------------------------------------------------

  async #take(end: Kept['end'], token: number, election: Election): Promise<undefined> {
    this.leave();
    if (end.how === 'error') await this.#failAll(end.error);
    else this.#answers.giveAll(end.value, this.waiters.first(), 'remote');
    if (this.#late?.size) await this.#answerLate(this.#late, end, token, election.floor());
    return undefined;
  }

  /** For those who accept it, a stale value that is stored is better than the error. */
  async #failAll(error: unknown): Promise<void> {
    await this.#stored.lookIfError(this.hash);
    this.#answers.failAll(error);
  }

  /** An outcome from after the last invalidation answers those who joined late; for another one they wait in the next flight. */
  async #answerLate(late: Waiters, end: Kept['end'], token: number, floor: Promise<number | undefined>): Promise<void> {
    const known = await floor;
    if (known === undefined || known >= token) return; // At the end of this flight they board the next.
    const answers = new Answers(late);
    if (end.how === 'error') answers.failAll(end.error);
    else answers.giveAll(end.value, undefined, 'local');
  }

  /** The outcome cannot be used here: this replica loads once for itself, or each caller does. */
  #takeNothing(why: 'untravelable' | 'private'): Turn | undefined {
    if (why === 'untravelable') return { ...soloTurn('bypass'), attempt: ATTEMPTS_MAX };
    this.leave();
    this.#admitLate();
    for (const waiter of this.waiters.all()) this.#loadAlone(waiter);
    return undefined;
  }

  // ---- Loading: run the loader, answer the callers here, settle for the others --------------------------------------

  #takeTurn(turn: Turn): void {
    if (turn.hasTagTime === true || turn.lease === undefined || !hasTags(this.#leader?.options.tags)) this.#startLoad(turn);
    else this.#goOn(turn.lease.readTagTime().then(() => ({ ...turn, hasTagTime: true })));
  }

  #startLoad(turn: Turn): void {
    this.#admitLate();
    if (turn.isAlone !== true && !this.#isShut) this.#host.takeAboard(this, turn.lease?.token);
    const leader = this.#isShut ? undefined : this.#leader;
    if (leader === undefined) {
      this.leave();
      this.#giveBack(turn);
      this.#arrive();
      return;
    }
    this.#turn = turn;
    this.#answeredEarly = 0;
    this.#load = this.#newLoad(leader, turn.lease?.token, turn.isAlone === true);
    turn.lease?.keep((lease, renewal) => this.#onRenewal(lease, renewal));
    this.#load.start();
  }

  onLoadEnd(load: Load, end: LoadEnd): void {
    const turn = this.#turn;
    if (load === this.#load && turn !== undefined) this.#go(() => this.#loaded(load, turn, end));
    else this.#soloEnded(load, end);
  }

  #loaded(load: Load, turn: Turn, end: LoadEnd): Step | Promise<Step> {
    const leader = load.caller;
    turn.lease?.stop();
    const loadMs = this.clock.now() - load.startedAt;
    const followers = this.waiters.callers - (this.waiters.has(leader) ? 1 : 0);
    const answered = this.#answeredEarly + (this.#onlyFor === undefined ? followers : 0);
    this.#host.report.loadEnded(this.id, turn.source, end, loadMs, answered);
    return this.#land(turn, leader, end, cacheWriteOf(leader.options, loadMs, load.lifetimes));
  }

  /** Whose loader runs, and whose options count. */
  get #leader(): Waiter | undefined {
    return this.#stored.refresher ?? this.waiters.first();
  }

  #land(turn: Turn, leader: Waiter, loaded: LoadEnd, cache: CacheWrite | undefined): Step | Promise<Step> {
    if (this.#onlyFor !== undefined) {
      this.#answers.giveEnd(leader, turn.source, loaded);
      return undefined;
    }
    const { end, tags } = labelled(leader, loaded);
    if (end.how === 'error' && turn.attempt < ATTEMPTS_MAX && !sharesError(leader, end.error))
      return this.#tryNext(turn, leader, end.error);
    const mayStore = this.#host.link === undefined && this.#host.isJoinable(this);
    this.leave();
    if (end.how === 'aborted') {
      this.#giveBack(turn);
      return undefined;
    }
    if (mayStore && cache !== undefined) this.#host.values.write(this.canonical, end, cache, tags);
    // A stored error would hide the value that is better than it.
    const isBetter = end.how === 'error' && this.#stored.answerIfError(leader);
    if (end.how === 'value') this.#answers.giveAll(end.value, leader, turn.source);
    else if (turn.lease === undefined) this.#answers.failAll(end.error);
    if (turn.lease === undefined) this.#giveBack(turn);
    else return this.#settle(turn.lease, leader, end, isBetter ? undefined : cache, tags);
    return undefined;
  }

  #settle(
    lease: Lease,
    leader: Waiter,
    end: Landed,
    cache: CacheWrite | undefined,
    tags: readonly string[],
  ): undefined | Promise<undefined> {
    const floor = lease.settle(end, leader, cache, tags);
    return end.how === 'value' && !this.#late?.size ? undefined : this.#answerRest(lease, end, floor);
  }

  async #answerRest(lease: Lease, end: Landed, floor: Promise<number | undefined>): Promise<undefined> {
    if (end.how === 'error') await this.#failAll(end.error);
    if (this.#late?.size) await this.#answerLate(this.#late, end, lease.token, floor);
    return undefined;
  }

  /** The error is the leader's alone: the next waiter, here or on another replica, takes over with a load of its own. */
  #tryNext(turn: Turn, leader: Waiter, error: unknown): Step | Promise<Step> {
    this.waiters.fail(leader, error);
    this.#stored.refreshFailed();
    this.#giveBack(turn, true);
    if (this.waiters.size === 0) return this.#leaveAnswered();
    if (this.#election === undefined || turn.lease === undefined) return { ...turn, attempt: turn.attempt + 1 };
    return this.#electAmongAll(this.#election);
  }

  /** The outcome will be private to `leader`: everybody else, here and on other replicas, loads for itself from now on. */
  onUnshareable(load: Load): void {
    const turn = this.#turn;
    if (load !== this.#load || turn === undefined || this.#onlyFor !== undefined) return;
    const leader = load.caller;
    this.#onlyFor = leader;
    this.leave();
    this.#admitLate();
    for (const waiter of this.waiters.all()) {
      if (waiter !== leader) this.#loadAlone(waiter);
    }
    this.#host.report.unshareable(this.id, 'private');
    if (turn.lease === undefined) this.#giveBack(turn);
    else void turn.lease.settleAs({ kind: 'unshareable', why: 'private' }, undefined);
    if (!this.waiters.has(leader)) this.#load?.abort(nobodyWaits());
  }

  #loadAlone(waiter: Waiter): void {
    const load = this.#newLoad(waiter, undefined, waiter.callers === 1);
    this.#solos ??= new Map();
    this.#solos.set(waiter, load);
    load.start();
  }

  #soloEnded(load: Load, end: LoadEnd): void {
    const { caller } = load;
    this.#solos?.delete(caller);
    this.#host.report.loadEnded(this.id, 'bypass', end, this.clock.now() - load.startedAt, caller.callers - 1);
    this.#answers.giveEnd(caller, 'bypass', end);
    if (this.#hasArrived && !this.#hasSolos) this.#end();
  }

  get #hasSolos(): boolean {
    return this.#solos !== undefined && this.#solos.size > 0;
  }

  /** Those who wait, except the leader, may take what its load offers. Nobody does whom it let go. */
  onOffer(load: Load, offered: unknown): void {
    if (load !== this.#load || this.#onlyFor !== undefined) return;
    this.#answeredEarly += this.#answers.giveEarly(offered, load.caller);
    this.#abortUnlessWaitedFor();
  }

  #offerTo(waiter: Waiter, offered: unknown): void {
    if (!this.#answers.giveEarlyTo(waiter, offered)) return;
    this.#answeredEarly++;
    this.#abortUnlessWaitedFor();
  }

  #newLoad(waiter: Waiter, fencingToken: number | undefined, isAlone: boolean): Load {
    this.#host.report.loadStarted();
    const isRefresh = waiter === this.#stored.refresher;
    return new Load(this, waiter, { fencingToken, isAlone, isRefresh, previous: this.#stored.previous });
  }

  /** Gives up what this flight holds, or may hold, at the coordinator. */
  #giveBack(turn: Turn, failed = false): void {
    if (turn.lease === undefined) this.#election?.releaseUnknown(failed);
    else turn.lease.release(failed);
  }

  /** A load starts that began after all their calls. */
  #admitLate(): void {
    for (const waiter of this.#late?.handOver() ?? []) this.board(waiter);
  }

  // ---- The end of a wait, and of the flight -------------------------------------------------------------------------

  onLeft(waiter: Waiter, outcome: CallOutcome, waitedMs: number): void {
    this.#host.report.left(this.id, outcome, waitedMs, waiter.callers);
    if (outcome === 'timeout' || outcome === 'aborted') this.#onGaveUp(waiter);
  }

  #onGaveUp(waiter: Waiter): void {
    if (!this.#hasTakenOff && !this.isWanted) this.#end();
    if (!this.#hasTakenOff) return;
    this.#solos?.get(waiter)?.abort(nobodyWaits());
    if (waiter === this.#onlyFor) this.#abortLoad();
    this.#abortUnlessWaitedFor();
  }

  #abortUnlessWaitedFor(): void {
    if (this.isWanted || this.#stored.refresher !== undefined) return;
    if (this.#election?.isOpen === true) {
      this.leave();
      this.#election.leave();
      return;
    }
    const lease = this.#load?.running === true ? this.#turn?.lease : undefined;
    if (lease === undefined || this.#onlyFor !== undefined) this.#abortLoad();
    else void lease.renew(); // Others may wait on other replicas: the reply tells.
  }

  /** The lease is lost, or held; then the reply tells whether anybody on any replica still waits. */
  #onRenewal(lease: Lease, renewal: Renewal): void {
    if (renewal.state === 'detached') {
      this.#host.report.detached(this.id, (renewal.floor ?? 0) >= lease.token ? 'invalidated' : 'lease_lost');
      this.leave();
      return;
    }
    if (renewal.waiters === 0 && !this.isWanted && this.#stored.refresher === undefined) this.#abortLoad();
  }

  #abortLoad(): void {
    this.leave();
    this.#load?.abort(nobodyWaits());
  }

  #end(): void {
    this.leave();
    this.#election?.end();
    for (const waiter of this.#late?.handOver() ?? []) this.#host.boardNext(this.canonical, waiter);
    this.#host.ended(this);
  }
}

const HERE = Object.freeze(soloTurn('leader'));

function soloTurn(source: Turn['source']): Turn {
  return { source, lease: undefined, attempt: 1 };
}

/** What tags the end of a load carries. A function of the caller that cannot say so fails the load. */
function labelled(leader: Waiter, end: LoadEnd): { readonly end: LoadEnd; readonly tags: readonly string[] } {
  try {
    return { end, tags: tagsOf(leader.options.tags, end) };
  } catch (error) {
    return { end: { how: 'error', error, timedOut: false, trace: end.how === 'aborted' ? undefined : end.trace }, tags: [] };
  }
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
