/**
 * Seeds that once found a bug, replayed on every run. A seed means what the planner makes of it: a change of plan.ts or
 * scripts.ts gives it another run, so a bug that matters has a unit test as well.
 */
export const REGRESSION_SEEDS: readonly { readonly seed: number; readonly why: string }[] = [
  { seed: 1_104, why: 'the notice of a large outcome overtakes the reply of a claim' },
  { seed: 3_656, why: 'the notice of a large outcome overtakes the reply of a claim' },
  { seed: 87, why: 'a claim is sent again after a private outcome has come' },
  { seed: 122, why: 'a claim is sent again after a private outcome has come' },
  { seed: 33_321, why: 'a waiter that leads without knowing it is answered with an outcome, and keeps its lease' },
  { seed: 38_533, why: 'a late copy of a claim registers a leader as a waiter, and tells it of a floor' },
];
