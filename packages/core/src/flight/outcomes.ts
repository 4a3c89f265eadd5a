import type { Kept } from '../caching.js';
import type { Codec } from '../codec.js';
import type { CoordinatorLink, FlightId, Outcome, StoredOutcome } from '../coordinator.js';
import { decodeError, encodeError } from '../error-codec.js';
import type { FlightReport } from '../flight-host.js';
import type { LoadEnd } from '../load.js';
import type { Waiter } from '../waiters.js';

/** The end of a load that has something to tell others. */
export type Landed = Exclude<LoadEnd, { how: 'aborted' }>;

/** Turns the end of one flight's load into an outcome that travels, and an outcome from elsewhere into an end. */
export class Outcomes {
  readonly #link: CoordinatorLink;
  readonly #report: FlightReport;
  readonly #flightId: FlightId;

  constructor(link: CoordinatorLink, report: FlightReport, flightId: FlightId) {
    this.#link = link;
    this.#report = report;
    this.#flightId = flightId;
  }

  /** What cannot be encoded, or is too large, travels as the news of that. */
  encode(end: Landed, leader: Waiter): Outcome {
    const { codec, payloadBytesMax = Number.POSITIVE_INFINITY } = this.#link;
    try {
      const bytes = end.how === 'value' ? this.#codecOf(leader).encode(end.value) : encodeError(end.error, { codec });
      if (bytes.byteLength <= payloadBytesMax) return { kind: end.how, bytes, ...(end.trace !== undefined && { trace: end.trace }) };
    } catch {
      // What it says may quote the value.
    }
    this.#report.unshareable(this.#flightId, 'untravelable');
    return { kind: 'unshareable', why: 'untravelable' };
  }

  /** Undefined for what cannot be read here. */
  decode(outcome: Exclude<Outcome, { kind: 'unshareable' }>, waiter: Waiter | undefined): Kept['end'] | undefined {
    if (outcome.kind === 'error')
      return { how: 'error', error: decodeError(outcome.bytes, { codec: this.#link.codec, flightId: this.#flightId }) };
    try {
      return { how: 'value', value: this.#codecOf(waiter).decode(outcome.bytes) };
    } catch {
      this.#report.unreadable();
      return undefined;
    }
  }

  decodeStored({ outcome, ageMs, loadMs, lifetimes }: StoredOutcome, waiter: Waiter | undefined): Kept | undefined {
    const end = outcome.kind === 'unshareable' ? undefined : this.decode(outcome, waiter);
    return end && { end, ageMs, loadMs, lifetimes };
  }

  #codecOf(waiter: Waiter | undefined): Codec {
    return waiter?.options.codec ?? this.#link.codec;
  }
}
