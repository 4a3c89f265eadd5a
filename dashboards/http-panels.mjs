// What the dashboard of the Express middleware shows, row by row; docs/metrics.md names every panel.

import { gauge, ONE, panel, quantile, rate, sum, target } from './expressions.mjs';

/** Outcomes of requests that needed no run of their own handler. */
const COLLAPSED = 'outcome=~"copy|live|fresh|stale"';

const increase = (labels) => `sum(increase(${gauge('http_requests_total', labels)}[$__range]))`;
const share = (by, part, whole) => `${sum(by, part)} / ${sum(by, whole)}`;

/** A vector of core's metrics, of collapsers that a middleware uses only. */
const ofMiddlewares = (vector) => `${vector} and on (namespace) group by (namespace) (oneflight_http_captures{${ONE}})`;

export const rows = [
  {
    title: 'What clients feel',
    panels: [
      panel(
        'Answered without their handler',
        'Share of all requests that got the answer to another request, or a stored one, over the whole time range shown.',
        'percentunit',
        [target(`${increase(COLLAPSED)} / ${increase('')}`, 'collapsed')],
        { type: 'stat', width: 4 },
      ),
      panel(
        'Requests by outcome',
        'How requests ended. handler: their own ran. copy and live: another one’s answer, whole or while it was made. fresh and stale: from the store. bypass and unserved ran their handler without collapsing; failed got an error; elsewhere was answered by something else; left went away.',
        'reqps',
        [target(sum('outcome', rate('http_requests_total')), '{{outcome}}')],
        { stack: true, width: 12 },
      ),
      panel(
        'Share collapsed, of those that asked',
        'Of the requests that were not bypassed, the share that got the answer to another one, by collapser. The rest ran their handler.',
        'percentunit',
        [target(share('namespace', rate('http_replayed_total'), rate('http_collapsed_total')), '{{namespace}}')],
        { width: 8 },
      ),
      panel(
        'Handler time against wait time',
        'The slowest one in twenty: how long handlers took until their answer was complete, and how long requests waited for an answer to begin, made in this process (local) or on another replica (remote). Needs collectMetrics for the same collapser.',
        's',
        [
          target(ofMiddlewares(quantile(0.95, 'namespace', 'execution_duration_seconds')), 'handler {{namespace}}'),
          target(ofMiddlewares(quantile(0.95, 'namespace, scope', 'wait_duration_seconds')), 'wait {{scope}} {{namespace}}'),
        ],
      ),
      panel(
        'Clients that went away',
        'Clients that closed their connection, by what their request was about: waiting for an answer, handling it, or reading the answer to another one. Others are not harmed.',
        'reqps',
        [target(sum('while', rate('http_left_total')), '{{while}}')],
      ),
      panel(
        'Answers that broke off',
        'Requests whose answer, which was made for another one, ended in its middle: it broke off there, or their client was too slow for it.',
        'reqps',
        [target(sum('namespace', rate('http_truncated_total')), '{{namespace}}')],
      ),
    ],
  },
  {
    title: 'Why handlers ran',
    panels: [
      panel(
        'Not collapsed',
        'Requests that went to their handler at once, by reason. hit_for_miss: answers for that key could not be shared lately. unsupported: this is Express 4.',
        'reqps',
        [target(sum('reason', rate('http_bypassed_total')), '{{reason}}')],
        { stack: true },
      ),
      panel(
        'Answers not shared',
        'Answers that went to their own caller alone, by what about them forbade to share them. Those who had waited for them ran their handlers.',
        'ops',
        [target(sum('reason', rate('http_unshareable_total')), '{{reason}}')],
      ),
      panel(
        'Waited in vain',
        'Requests that waited and ran their handler all the same: it took longer than timeoutMs, the answer was for another variant, or no answer came.',
        'reqps',
        [target(sum('reason', rate('http_unserved_total')), '{{reason}}')],
      ),
      panel(
        'Keys that are not waited for',
        'Keys whose requests run their handlers at once for a while, because their answers lately could not be shared, in all processes chosen.',
        'short',
        [target(sum('namespace', gauge('http_hit_for_miss_keys')), '{{namespace}}')],
      ),
      panel('Answers being copied', 'Answers that are copied at this moment for those who wait, in all processes chosen.', 'short', [
        target(sum('namespace', gauge('http_captures')), '{{namespace}}'),
      ]),
      panel(
        'Bytes held',
        'Bodies that are held at this moment for those who wait, in all processes chosen. limits.capturedBytesMax bounds each process.',
        'bytes',
        [target(sum('namespace', gauge('http_captured_bytes')), '{{namespace}}')],
      ),
    ],
  },
  {
    title: 'Store',
    panels: [
      panel('Answers from the store', 'Requests that were answered with what was stored, by whether it was fresh.', 'reqps', [
        target(sum('how', rate('http_store_answers_total')), '{{how}}'),
      ]),
      panel(
        'Hit ratio',
        'Share of the requests that asked which the store answered, fresh or stale. 0 where nothing is stored.',
        'percentunit',
        [target(share('namespace', rate('http_store_answers_total'), rate('http_collapsed_total')), '{{namespace}}')],
      ),
      panel(
        'Kept, and found to hold still',
        'Answers that were kept for later requests, stored answers that their handler confirmed (304), and requests with only-if-cached for which nothing was stored.',
        'ops',
        [
          target(sum('', rate('http_stored_total')), 'kept'),
          target(sum('', rate('http_revalidated_total')), 'hold still'),
          target(sum('', rate('http_missing_total')), 'only-if-cached, and missing'),
        ],
      ),
      panel(
        'Changes',
        'Changes (POST, PUT, PATCH, DELETE) after which stored answers were removed, and removals of which no other replica could be told: there what is stored stays until it ends.',
        'ops',
        [target(sum('', rate('http_changes_total')), 'removed'), target(sum('', rate('http_changes_lost_total')), 'not told')],
      ),
      panel(
        'Refused answers',
        'Answers of other replicas that were malformed, too large, or for another key. Replicas with different limits, or somebody forges them.',
        'ops',
        [target(sum('namespace', rate('http_refused_total')), '{{namespace}}')],
      ),
    ],
  },
];
