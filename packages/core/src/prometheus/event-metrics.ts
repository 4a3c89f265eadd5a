import type { TraceLabels } from './exemplars.js';
import type { Maker } from './maker.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const ROUND_TRIP_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const FOLLOWERS = [0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000];
const BYTES = [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];

export type EventMetrics = ReturnType<typeof eventMetrics>;

/** The metrics that events add to. `requests` comes first. */
export function eventMetrics(make: Maker, exemplars: boolean) {
  return { ...callMetrics(make), ...loadMetrics(make, exemplars), ...flightMetrics(make), ...coordinatorMetrics(make) };
}

function callMetrics(make: Maker) {
  return {
    requests: make.counter('requests_total', 'Calls that have ended, by how each one was answered or failed.', ['namespace', 'outcome']),
    bypasses: make.counter('bypasses_total', 'Calls that were not collapsed, by reason.', ['namespace', 'reason']),
    collapsible: make.counter('collapsible_total', 'Calls that observe mode let load and collapse mode would not have.', ['namespace']),
    wait: make.histogram(
      'wait_duration_seconds',
      'Time that callers waited for a load that another caller of this process (local) or another replica (remote) made.',
      ['namespace', 'scope'],
      SECONDS,
    ),
  };
}

function loadMetrics(make: Maker, exemplars: boolean) {
  return {
    executions: make.counter('executions_total', 'Runs of the loader in this process, by their right to run and their result.', [
      'namespace',
      'source',
      'result',
    ]),
    executionDuration: make.histogram<'namespace' | keyof TraceLabels>(
      'execution_duration_seconds',
      'Time that a run of the loader took.',
      ['namespace'],
      SECONDS,
      exemplars,
    ),
    followers: make.histogram(
      'followers_per_flight',
      'Callers of this process that one run of the loader answered besides its own.',
      ['namespace'],
      FOLLOWERS,
    ),
    duplicates: make.counter('duplicate_executions_total', 'Runs that ended after another replica had come to lead their key.', [
      'namespace',
    ]),
  };
}

function flightMetrics(make: Maker) {
  return {
    elections: make.counter('elections_total', 'Elections that this process took part in, by result.', ['namespace', 'result']),
    detached: make.counter('flights_detached_total', 'Leaders that found that they no longer hold their key, by reason.', [
      'namespace',
      'reason',
    ]),
    unshareable: make.counter('unshareable_results_total', 'Results that could not be given to other callers, by reason.', [
      'namespace',
      'reason',
    ]),
    resultSize: make.histogram('result_size_bytes', 'Size of results as they travel to other replicas.', ['namespace'], BYTES),
  };
}

function coordinatorMetrics(make: Maker) {
  return {
    operationDuration: make.histogram(
      'coordinator_operation_duration_seconds',
      'Time of round trips to the coordinator, failed ones too.',
      ['namespace', 'operation'],
      ROUND_TRIP_SECONDS,
    ),
    operationErrors: make.counter('coordinator_errors_total', 'Round trips to the coordinator that failed, by error.', [
      'namespace',
      'operation',
      'error',
    ]),
    lost: make.counter('coordinator_unacknowledged_total', 'Outcomes and given up claims that the coordinator never acknowledged.', [
      'namespace',
      'operation',
    ]),
    rejected: make.counter('messages_rejected_total', 'Messages and stored results that were refused, by reason.', ['namespace', 'reason']),
  };
}
