import type { CircuitState, RejectReason } from '../coordinator.js';
import type { CoordinatorFailure } from '../errors.js';
import type { BypassReason, CollapserEvent, Operation } from '../events.js';
import type { CallOutcome } from '../waiters.js';

type Of<T extends CollapserEvent['type'], F extends string> =
  Extract<CollapserEvent, { type: T }> extends infer E ? (F extends keyof E ? E[F] : never) : never;

/** Every value of each label, so that each series is there, at 0, before anything happens. The compiler keeps them complete. */
export const LABEL_VALUES = {
  outcome: all<CallOutcome>({
    leader: 0,
    local: 0,
    remote: 0,
    linger: 0,
    cache: 0,
    stale: 0,
    degraded: 0,
    bypass: 0,
    error: 0,
    timeout: 0,
    aborted: 0,
  }),
  bypass: all<BypassReason>({
    too_many_flights: 0,
    too_many_waiters: 0,
    too_many_watchers: 0,
    key_too_long: 0,
    inside_batch: 0,
    observe: 0,
  }),
  source: all<Of<'load', 'source'>>({ leader: 0, degraded: 0, bypass: 0 }),
  result: all<Of<'load', 'result'>>({ ok: 0, error: 0, timeout: 0, aborted: 0 }),
  scope: all<'local' | 'remote'>({ local: 0, remote: 0 }),
  election: all<Of<'election', 'result'>>({ won: 0, lost: 0, takeover: 0, settled: 0 }),
  detached: all<Of<'detached', 'why'>>({ lease_lost: 0, invalidated: 0 }),
  unshareable: all<Of<'unshareable', 'why'>>({ untravelable: 0, private: 0 }),
  operation: all<Operation>({ claim: 0, renew: 0, settle: 0, release: 0, invalidate: 0, peek: 0, floor: 0, tag: 0, presence: 0 }),
  failure: all<CoordinatorFailure>({ timeout: 0, unavailable: 0, refused: 0, protocol: 0 }),
  lost: all<Of<'lost', 'what'>>({ settle: 0, release: 0 }),
  rejected: all<RejectReason | 'unreadable'>({
    malformed: 0,
    unknown_version: 0,
    bad_signature: 0,
    key_mismatch: 0,
    stale_token: 0,
    too_large: 0,
    unreadable: 0,
  }),
  circuit: all<CircuitState>({ closed: 0, open: 0, half_open: 0 }),
} as const;

function all<T extends string>(values: Readonly<Record<T, 0>>): readonly T[] {
  const names: T[] = [];
  for (const name in values) names.push(name);
  return names;
}
