import type { Timer } from './clock.js';
import type { CoordinatorLink, FlightId } from './coordinator.js';
import { limited, type ClaimantHost } from './claimant.js';
import type { Election } from './flight/election.js';

/** How often presence is looked at, in milliseconds; also how long a flight is followed before the first look. */
const LOOK_MS = 100;
/** An inbox that is empty this often in a row means that its process is gone. */
const ABSENCES_MAX = 2;

interface Watched {
  readonly leader: FlightId;
  absences: number;
}

/**
 * Notices within a fraction of the lease that a followed leader's process is gone: the kernel closes its connections, and
 * its inbox loses its subscriber. One command for all leaders that this replica follows. A false alarm costs a duplicate
 * load, never a wrong or lost outcome.
 */
export class PresenceWatch {
  readonly #host: Pick<ClaimantHost, 'clock' | 'pulse' | 'report'>;
  readonly #link: CoordinatorLink;
  readonly #watched = new Map<Election, Watched>();
  #timer: Timer | undefined;
  #looking = false;

  constructor(host: Pick<ClaimantHost, 'clock' | 'pulse' | 'report'>, link: CoordinatorLink) {
    this.#host = host;
    this.#link = link;
  }

  watch(election: Election, leader: FlightId): void {
    this.#watched.set(election, { leader, absences: 0 });
    this.#lookLater();
  }

  unwatch(election: Election): void {
    if (!this.#watched.delete(election) || this.#watched.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #lookLater(): void {
    if (this.#timer !== undefined || this.#looking || this.#watched.size === 0) return;
    this.#timer = this.#host.clock.setTimer(() => void this.#look(), LOOK_MS);
  }

  async #look(): Promise<void> {
    this.#timer = undefined;
    this.#looking = true;
    const leaders = [...new Set(Array.from(this.#watched.values(), (watched) => watched.leader))];
    try {
      const { commandTimeoutMs } = this.#link.timings;
      const answers = (await limited(this.#host, 'presence', commandTimeoutMs, async () => this.#link.absent?.(leaders))) ?? [];
      this.#note(new Set(leaders.filter((_, index) => answers[index] === true)));
    } catch {
      // Out of reach: the rechecks of the flights find that out for themselves.
    }
    this.#looking = false;
    this.#lookLater();
  }

  #note(absent: ReadonlySet<FlightId>): void {
    for (const [election, watched] of [...this.#watched]) {
      watched.absences = absent.has(watched.leader) ? watched.absences + 1 : 0;
      if (watched.absences >= ABSENCES_MAX) election.receive({ kind: 'vacated' });
    }
  }
}
