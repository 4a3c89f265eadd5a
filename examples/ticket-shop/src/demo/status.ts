import type { CollapseMode } from '../server/collapsing.js';
import type { AnswersSummary } from './answers.js';
import type { Load, Measurement } from './measure.js';
import type { ReplicaView } from './replicas.js';

/** Everything that the live page shows, as it travels to the page. */
export interface Status {
  readonly collapse: CollapseMode;
  readonly visitors: { readonly on: boolean; readonly count: number };
  readonly bursting: boolean;
  /** How long each seat query takes, because the demo says so. */
  readonly busyMs: number;
  readonly load: Load;
  /** Both bursts from before the page. */
  readonly first: { readonly without: Measurement; readonly with: Measurement };
  readonly lastBurst: Burst | null;
  readonly replicas: readonly ReplicaView[];
  /** The last minute, oldest first. */
  readonly seconds: readonly Second[];
}

export interface Burst extends Measurement {
  /** Counts the bursts of the page, from 1. */
  readonly number: number;
  readonly collapse: CollapseMode;
  readonly requests: number;
}

/** What was added in one second. */
export interface Second extends AnswersSummary {
  /** Its end, in seconds since the demo began to serve the page. */
  readonly at: number;
  readonly databaseQueries: number;
}
