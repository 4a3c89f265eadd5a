// What the dashboard shows, row by row. `generate.mjs` makes oneflight.json of it; docs/metrics.md names every panel.

import { gauge, ONE, panel, quantile, rate, sum, target } from './expressions.mjs';

/** Share of the calls that needed no load of their own. */
const workSaved = (by) => `1 - ${sum(by, rate('executions_total'))} / ${sum(by, rate('requests_total'))}`;

export const rows = [
  {
    title: 'What users feel',
    panels: [
      panel(
        'Work saved',
        'Share of calls that were answered without a load of their own, over the whole time range shown. The headline: 1 - executions / requests.',
        'percentunit',
        [
          target(
            `1 - sum(increase(oneflight_executions_total{${ONE}}[$__range])) / sum(increase(oneflight_requests_total{${ONE}}[$__range]))`,
            'saved',
          ),
        ],
        { type: 'stat', width: 4 },
      ),
      panel(
        'Calls by outcome',
        'Calls that ended, by how each was answered or failed. leader and degraded ran the loader, local and remote shared another call’s load.',
        'reqps',
        [target(sum('outcome', rate('requests_total')), '{{outcome}}')],
        { stack: true, width: 12 },
      ),
      panel(
        'Work saved by collapser',
        'Share of calls that were answered without a load of their own, now. Falls to 0 where no two callers ask for the same thing at the same time.',
        'percentunit',
        [target(workSaved('namespace'), '{{namespace}}')],
        { width: 8 },
      ),
      panel(
        'Failed loads',
        'Share of loads that failed or took longer than loadTimeoutMs. A failed load fails all its callers, unless errors are not shared.',
        'percentunit',
        [
          target(
            `${sum('namespace', rate('executions_total', 'result=~"error|timeout"'))} / ${sum('namespace', rate('executions_total'))}`,
            '{{namespace}}',
          ),
        ],
        { width: 8 },
      ),
      panel(
        'Time that followers wait',
        'How long callers waited for a load that somebody else made: in this process (local) or on another replica (remote).',
        's',
        [0.5, 0.95, 0.99].map((q) => target(quantile(q, 'scope', 'wait_duration_seconds'), `p${q * 100} {{scope}}`)),
        { width: 8 },
      ),
      panel(
        'Time that loads take',
        'How long the loader ran. Followers wait at most so long, and usually less.',
        's',
        [0.5, 0.99].map((q) => target(quantile(q, 'namespace', 'execution_duration_seconds'), `p${q * 100} {{namespace}}`)),
        { width: 8 },
      ),
    ],
  },
  {
    title: 'Collapsing quality',
    panels: [
      panel(
        'Calls per load',
        'Calls answered for each run of the loader, in the whole cluster. 1 means that nothing is collapsed.',
        'short',
        [target(`${sum('namespace', rate('requests_total'))} / ${sum('namespace', rate('executions_total'))}`, '{{namespace}}')],
      ),
      panel('Followers per load', 'Callers of the same process that one run of the loader answered besides its own: the mean.', 'short', [
        target(
          `${sum('namespace', rate('followers_per_flight_sum'))} / ${sum('namespace', rate('followers_per_flight_count'))}`,
          '{{namespace}}',
        ),
      ]),
      panel(
        'Followers per load, spread',
        'How many loads had how many followers in their own process. A hot key shows as a band at the top.',
        'short',
        [target(`sum by (le) (increase(oneflight_followers_per_flight_bucket{${ONE}}[$__rate_interval]))`, '{{le}}')],
        { type: 'heatmap' },
      ),
      panel(
        'Elections',
        'How claims were answered. won: this replica leads. lost: another one does. takeover: it leads after it had waited for another one. settled: it was done already.',
        'ops',
        [target(sum('result', rate('elections_total')), '{{result}}')],
      ),
      panel(
        'Not collapsed',
        'Calls that loaded for themselves, by reason: a limit was reached, the key is too long, the call came from inside a batch, or the mode is observe.',
        'reqps',
        [target(sum('reason', rate('bypasses_total')), '{{reason}}')],
      ),
      panel(
        'Not shareable',
        'Results that could not be given to others: untravelable could not be encoded, private belongs to the caller that led.',
        'ops',
        [target(sum('reason', rate('unshareable_results_total')), '{{reason}}')],
      ),
      panel(
        'Loaded twice, and leases lost',
        'Loads that ended after another replica had come to lead their key, and leaders that found their lease lost or their key invalidated. Without faults only invalidated is above 0.',
        'ops',
        [
          target(sum('', rate('duplicate_executions_total')), 'loaded twice'),
          target(sum('reason', rate('flights_detached_total')), '{{reason}}'),
        ],
      ),
      panel(
        'Would be saved',
        'In observe mode: share of calls that collapse mode would have answered without a load, counted inside each process. 0 in collapse mode.',
        'percentunit',
        [target(`${sum('namespace', rate('collapsible_total'))} / ${sum('namespace', rate('requests_total'))}`, '{{namespace}}')],
      ),
    ],
  },
  {
    title: 'Saturation',
    panels: [
      panel(
        'Flights and loads now',
        'Keys in flight and loaders running, in all processes chosen. limits.flightsMax bounds the flights of each process.',
        'short',
        [
          target(sum('namespace', gauge('inflight_keys')), 'flights {{namespace}}'),
          target(sum('namespace', gauge('inflight_executions')), 'loads {{namespace}}'),
        ],
      ),
      panel(
        'Callers now',
        'Callers that wait and iterations of watch, in all processes chosen. limits.waitersPerFlightMax and limits.watchersMax bound them.',
        'short',
        [
          target(sum('namespace', gauge('waiters')), 'waiters {{namespace}}'),
          target(sum('namespace', gauge('watchers')), 'watchers {{namespace}}'),
        ],
      ),
      panel('Size of results', 'Size of results as they travel to other replicas.', 'bytes', [
        target(quantile(0.5, 'namespace', 'result_size_bytes'), 'p50 {{namespace}}'),
        target(quantile(0.95, 'namespace', 'result_size_bytes'), 'p95 {{namespace}}'),
      ]),
    ],
  },
  {
    title: 'Coordinator',
    panels: [
      panel('Round trips', 'Round trips to the coordinator, by operation. A leader needs two per flight, a follower one.', 'ops', [
        target(sum('operation', rate('coordinator_operation_duration_seconds_count')), '{{operation}}'),
      ]),
      panel('Time of round trips', 'The slowest one in a hundred, by operation.', 's', [
        target(quantile(0.99, 'operation', 'coordinator_operation_duration_seconds'), 'p99 {{operation}}'),
      ]),
      panel('Failed round trips', 'Round trips that failed, by operation and error. timeout may or may not have been executed.', 'ops', [
        target(sum('operation, error', rate('coordinator_errors_total')), '{{operation}} {{error}}'),
      ]),
      panel(
        'In reach and listening',
        'Processes that reach the coordinator, and processes that hear messages. Both should equal the number of processes.',
        'short',
        [
          target(sum('namespace', `1 - ${gauge('coordinator_degraded')}`), 'in reach {{namespace}}'),
          target(sum('namespace', gauge('coordinator_listening')), 'listening {{namespace}}'),
        ],
      ),
      panel(
        'Circuit breaker',
        'Processes by the state of their circuit breaker. While it is open calls load without asking the coordinator.',
        'short',
        [target(sum('state', gauge('circuit_state')), '{{state}}')],
        { stack: true },
      ),
      panel(
        'Never acknowledged',
        'Outcomes (settle) and given up claims (release) that the coordinator never acknowledged. Their followers wait until the lease ends.',
        'ops',
        [target(sum('operation', rate('coordinator_unacknowledged_total')), '{{operation}}')],
      ),
      panel(
        'Invalidations owed',
        'Keys and tags whose invalidation could not be sent. They are sent when the coordinator is back; until then other replicas may answer from before the change.',
        'short',
        [target(sum('namespace', gauge('invalidations_owed')), '{{namespace}}')],
      ),
      panel(
        'Refused messages',
        'Messages and stored results that were not used, by reason. bad_signature and key_mismatch may mean that somebody forges them.',
        'ops',
        [target(sum('reason', rate('messages_rejected_total')), '{{reason}}')],
      ),
      panel('Versions', 'Processes by version of @oneflight/core.', 'short', [
        target('sum by (version) (oneflight_build_info{job=~"$job", instance=~"$instance"})', '{{version}}'),
      ]),
    ],
  },
  {
    title: 'Copies in the process',
    panels: [
      panel(
        'Reads of copies',
        'Reads of stored values where processes hold copies (near). hit: a copy answered, without a round trip. miss: there was none. outdated: there was one that did not do. Redis is asked for the last two.',
        'ops',
        [target(sum('result', rate('copy_reads_total')), '{{result}}')],
        { stack: true },
      ),
      panel(
        'Read without a round trip',
        'Share of the reads of stored values that a copy in the process answered. Low: bytesMax or maxAgeMs is too small for it, or keys are read too seldom.',
        'percentunit',
        [
          target(
            `${sum('namespace', rate('copy_reads_total', 'result="hit"'))} / ${sum('namespace', rate('copy_reads_total'))}`,
            '{{namespace}}',
          ),
        ],
      ),
      panel('Bytes of copies', 'What copies take and may take (bytesMax), in all processes chosen.', 'bytes', [
        target(sum('namespace', gauge('copies_bytes')), 'taken {{namespace}}'),
        target(sum('namespace', gauge('copies_limit_bytes')), 'limit {{namespace}}'),
      ]),
      panel('Copies held', 'Number of copies of stored values, in all processes chosen.', 'short', [
        target(sum('namespace', gauge('copies')), '{{namespace}}'),
      ]),
      panel(
        'Copies given up',
        'Copies that were dropped before their time. evicted: there was no room. invalidated: their key was. cleared: all of them, because messages may have been lost.',
        'ops',
        [target(sum('reason', rate('copies_dropped_total')), '{{reason}}')],
      ),
    ],
  },
];
