import type { Clock } from './clock.js';
import type {
  CacheRead,
  CacheWrite,
  Claim,
  CoordinatorLink,
  CoordinatorTimings,
  CopyRead,
  FlightId,
  KeyHash,
  Outcome,
  Renewal,
  Settlement,
  StoredOutcome,
  TagHash,
} from './coordinator.js';
import { CoordinatorError, type CoordinatorFailure } from './errors.js';
import type { Operation } from './events.js';
import type { Floors } from './floors.js';
import type { Pulse } from './pulse.js';

/** A settle that is not acknowledged is sent at least this often, and until the lease has ended: then rechecks find that. */
const SETTLES_MIN = 4;

/** The tags of an outcome, and when any tag had last been invalidated before its load began. */
export interface Tagged {
  readonly tags: readonly TagHash[];
  readonly since: number;
}

/** How a flight asks to lead. */
export interface Asked {
  /** The lowest token that may answer it; 0 when it asks for the first time. */
  readonly min: number;
  readonly takeover: boolean;
  readonly isStrict: boolean;
  readonly cacheRead: CacheRead | undefined;
}

/** What one flight's claimant needs from its collapser. */
export interface ClaimantHost {
  readonly clock: Clock;
  readonly floors: Floors;
  readonly pulse: Pulse;
  /** Takes over an operation that nobody waits for; `close` waits for it. It never rejects. */
  background(operation: Promise<void>): void;
  readonly report: ClaimantReport;
}

/** What a claimant tells as it happens. */
export interface ClaimantReport {
  /** A round trip has ended. */
  operated(operation: Operation, durationMs: number, error: CoordinatorFailure | undefined): void;
  /** A flight no longer owns its key. */
  detached(id: FlightId, why: 'lease_lost' | 'invalidated'): void;
  /** A settle or a release that the coordinator never acknowledged. */
  lost(what: 'settle' | 'release'): void;
  /** A flight's load ended after another one had come to lead its key. */
  duplicated(id: FlightId): void;
}

/** One flight's side of the coordinator: its operations, each with core's own time limit, for one key and one id. */
export class Claimant {
  readonly #host: ClaimantHost;
  readonly #link: CoordinatorLink;
  readonly #holder: { readonly key: KeyHash; readonly id: FlightId };

  constructor(host: ClaimantHost, link: CoordinatorLink, key: KeyHash, id: FlightId) {
    this.#host = host;
    this.#link = link;
    this.#holder = { key, id };
  }

  get key(): KeyHash {
    return this.#holder.key;
  }

  get id(): FlightId {
    return this.#holder.id;
  }

  get timings(): CoordinatorTimings {
    return this.#link.timings;
  }

  /** What is stored, from a copy in this process: nothing is sent, so nothing was heard of the coordinator either. */
  copyOf(read: CopyRead | undefined): StoredOutcome | undefined {
    return read && this.#link.copyOf?.({ key: this.key, floor: this.#host.floors.get(this.key), read });
  }

  /** Not limited here: a late reply still has to be given back. */
  claim(
    { min, takeover, isStrict, cacheRead }: Asked,
    onReply: (claim: Claim) => void,
    onFailure: (error: CoordinatorError) => void,
  ): void {
    const floor = this.#host.floors.get(this.#holder.key);
    const { key, id } = this.#holder;
    const request = { key, id, min, floor, takeover, strict: isStrict, ...(cacheRead && { cache: cacheRead }) };
    const startedAt = this.#host.clock.now();
    started(() => this.#link.claim(request)).then(
      (claim) => {
        this.#host.report.operated('claim', this.#host.clock.now() - startedAt, undefined);
        this.#host.pulse.heard();
        this.#learn(claim.floor);
        onReply(claim);
      },
      (reason: unknown) => {
        const error = asCoordinatorError(reason);
        this.#host.report.operated('claim', this.#host.clock.now() - startedAt, error.reason);
        onFailure(error);
      },
    );
  }

  async renew(token: number): Promise<Renewal> {
    const renewal = await this.#limited('renew', () => this.#link.renew({ ...this.#holder, token }));
    this.#learn(renewal.floor);
    return renewal;
  }

  /** When any tag was last invalidated; 0 where that is not known: then a load counts as overtaken by the last one. */
  async tagTime(): Promise<number> {
    try {
      const { tags } = this.#link;
      return tags === undefined ? 0 : await this.#limited('tag', () => tags.time());
    } catch {
      return 0;
    }
  }

  /**
   * Sends the outcome until it is acknowledged, in the background. Resolves after the first try, with the key's floor as
   * it was then; undefined where that is not known.
   */
  settle(token: number, outcome: Outcome, cache: CacheWrite | undefined, tagged?: Tagged): Promise<number | undefined> {
    return new Promise((resolve) => {
      const sent = this.#settleUntilHeard(token, outcome, cache, this.#link.tags && tagged, resolve);
      this.#host.background(sent);
    });
  }

  /** Reads the key's floor; undefined where it is not known, or cannot be read. */
  async floor(): Promise<number | undefined> {
    const { key } = this.#holder;
    if (this.#link.floor === undefined) return undefined;
    try {
      const floor = await this.#limited('floor', async () => this.#link.floor?.({ key }));
      this.#learn(floor);
      return floor;
    } catch {
      return undefined; // Whoever asked then does as if it had been invalidated.
    }
  }

  /** Gives up whatever this id holds or waits for, in the background; a waiter elsewhere is woken if nobody leads then. */
  release(failed = false): void {
    const released = this.#limited('release', () => this.#link.release({ ...this.#holder, failed }));
    this.#host.background(released.catch(() => this.#host.report.lost('release')));
  }

  async #settleUntilHeard(
    token: number,
    first: Outcome,
    cache: CacheWrite | undefined,
    tagged: Tagged | undefined,
    onTried: (floor: number | undefined) => void,
  ): Promise<void> {
    let [outcome, toAttach] = [first, tagged];
    const startedAt = this.#host.clock.now();
    const isWorthIt = (sent: number): boolean => sent < SETTLES_MIN || this.#host.clock.now() - startedAt < this.timings.leaseMs;
    for (let sent = 0; isWorthIt(sent); sent++) {
      try {
        // Noted under its tags before it is stored: an invalidation that comes in between finds the key, or was told of here.
        if (toAttach !== undefined && (await this.#isOvertaken(toAttach, outcome, cache))) {
          onTried(undefined);
          return this.#giveUpOvertaken();
        }
        toAttach = undefined;
        onTried(this.#settled(token, await this.#limited('settle', () => this.#settle(token, outcome, cache)), sent === 0));
        return;
      } catch (error) {
        onTried(undefined);
        // A server that refuses the payload (out of memory, say) may still take the news that there is none.
        if (asCoordinatorError(error).reason === 'refused') [outcome, toAttach] = [{ kind: 'unshareable', why: 'untravelable' }, undefined];
        await this.#pause(this.timings.commandTimeoutMs);
      }
    }
    this.#host.report.lost('settle');
  }

  #settle(token: number, outcome: Outcome, cache: CacheWrite | undefined): Promise<Settlement> {
    const { key, id } = this.#holder;
    return this.#link.settle(cache === undefined ? { key, id, token, outcome } : { key, id, token, outcome, cache });
  }

  #settled(token: number, { state, floor }: Settlement, isFirst: boolean): number | undefined {
    this.#learn(floor);
    // A settle that is sent again may find that the first one, whose reply was lost, has ended the flight.
    if (state === 'detached' && isFirst && (floor ?? 0) < token) this.#host.report.duplicated(this.#holder.id);
    return floor;
  }

  /** Notes the key under its tags, and tells whether one of them was invalidated after the load began. */
  async #isOvertaken({ tags, since }: Tagged, outcome: Outcome, cache: CacheWrite | undefined): Promise<boolean> {
    const index = this.#link.tags;
    if (index === undefined) return false;
    const livesMs = outcome.kind === 'value' ? cache?.valueMs : outcome.kind === 'error' ? cache?.errorMs : 0;
    const last = await this.#limited('tag', () => index.attach({ key: this.key, tags, livesMs: livesMs ?? 0 }));
    return last > since;
  }

  /** Nobody can tell which waiters asked before the invalidation: they load again. */
  #giveUpOvertaken(): void {
    this.#host.report.detached(this.id, 'invalidated');
    this.release();
  }

  #learn(floor: number | undefined): void {
    if (floor !== undefined) this.#host.floors.raise(this.#holder.key, floor);
  }

  #limited<R>(name: Operation, operation: () => Promise<R>): Promise<R> {
    return limited(this.#host, name, this.timings.commandTimeoutMs, operation);
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#host.clock.setTimer(resolve, delayMs);
    });
  }
}

/**
 * Runs an operation with core's own limit, because a coordinator may never answer, and reports how long it took and how it
 * failed.
 *
 * @throws CoordinatorError
 */
export function limited<R>(
  host: Pick<ClaimantHost, 'clock' | 'pulse' | 'report'>,
  name: Operation,
  silenceMs: number,
  operation: () => Promise<R>,
): Promise<R> {
  return new Promise((resolve, reject) => {
    const startedAt = host.clock.now();
    let isOver = false;
    const end = (error?: CoordinatorError): boolean => {
      if (isOver) return false;
      isOver = true;
      host.report.operated(name, host.clock.now() - startedAt, error?.reason);
      if (error !== undefined) reject(error);
      return true;
    };
    const timer = host.pulse.afterSilence(silenceMs, () => end(silent(silenceMs)));
    started(operation).then(
      (result) => {
        timer.cancel();
        host.pulse.heard();
        if (end()) resolve(result);
      },
      (error: unknown) => {
        timer.cancel();
        end(asCoordinatorError(error));
      },
    );
  });
}

/** What a coordinator throws at once instead of rejecting with it is trouble with the coordinator all the same. */
function started<R>(operation: () => Promise<R>): Promise<R> {
  try {
    return operation();
  } catch (error) {
    return Promise.reject(asCoordinatorError(error));
  }
}

/** What it is called when no answer came. */
export function silent(silenceMs: number): CoordinatorError {
  return new CoordinatorError('timeout', `the coordinator did not answer within ${silenceMs} ms`);
}

/** Whatever a coordinator throws is trouble with the coordinator, never the caller's. */
export function asCoordinatorError(error: unknown): CoordinatorError {
  if (error instanceof CoordinatorError) return error;
  return new CoordinatorError('refused', 'the coordinator failed', { cause: error });
}
