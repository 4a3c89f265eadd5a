import type { Checks, CheckedRun } from './checks.js';
import type { Timeline } from './timeline.js';

/** What the parts of a run have in common. */
export interface Run extends CheckedRun {
  readonly timeline: Timeline;
  readonly checks: Checks;
}
