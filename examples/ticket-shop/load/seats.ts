/*
 * Many users who look at the same few blocks all the time, for k6. One run measures one way of collapsing, which the shop
 * was started with: see docs/operations.md.
 *
 *   SHOP_URL        the load balancer
 *   COLLAPSE        what the shop has to be started with: off, process or cluster
 *   PROMETHEUS_URL  where the seat queries of all replicas are counted; without it they are not told
 *   VUS, DURATION   1000 users for 2m
 *   BLOCKS          how many blocks they look at, from 1 to 25: 1
 */
import { check, fail, sleep } from 'k6';
import http from 'k6/http';
import { Gauge, Rate, Trend } from 'k6/metrics';

const SHOP_URL = __ENV['SHOP_URL'] ?? 'http://localhost:8080';
const COLLAPSE = __ENV['COLLAPSE'] ?? 'cluster';
const PROMETHEUS_URL = __ENV['PROMETHEUS_URL'];
const BLOCKS = Number(__ENV['BLOCKS'] ?? 1);
/** Prometheus has scraped every replica, also those that have just started. */
const SCRAPED_SECONDS = 12;

const answerMs = new Trend('seat_answer_ms', true);
const failures = new Rate('seat_failures');
const seatQueries = new Gauge('seat_queries');

export const options = {
  scenarios: {
    seats: {
      executor: 'constant-vus',
      exec: 'lookAtSeats',
      vus: Number(__ENV['VUS'] ?? 1000),
      duration: __ENV['DURATION'] ?? '2m',
      gracefulStop: '30s',
    },
  },
  summaryTrendStats: ['count', 'med', 'p(95)', 'max'],
  setupTimeout: '60s',
  teardownTimeout: '60s',
};

interface Start {
  readonly queries: number | undefined;
}

export function setup(): Start {
  const mode = http.get(`${SHOP_URL}/healthz`).json('collapse');
  if (mode !== COLLAPSE) fail(`expected a shop with COLLAPSE=${COLLAPSE}, got ${JSON.stringify(mode)}`);
  return { queries: countSeatQueries() };
}

/** One user looks at the seats of a block, and looks again as soon as they are there. */
export function lookAtSeats(): void {
  const blockId = 1 + Math.floor(Math.random() * BLOCKS);
  const response = http.get(`${SHOP_URL}/api/matches/1/blocks/${blockId}/seats`, {
    tags: { name: 'seats' },
    timeout: '60s',
  });
  const isRight = check(response, {
    'the seats of the block that was asked for': ({ status, body }) =>
      status === 200 && typeof body === 'string' && body.includes(`"blockId":${blockId},`),
  });
  failures.add(!isRight);
  answerMs.add(response.timings.duration);
}

export function teardown({ queries }: Start): void {
  const now = countSeatQueries();
  if (queries !== undefined && now !== undefined) seatQueries.add(now - queries);
}

export function handleSummary({ metrics }: Summary): Record<string, string> {
  const { count = 0, med = 0, 'p(95)': p95 = 0 } = metrics['seat_answer_ms']?.values ?? {};
  const lines = [
    `collapse=${COLLAPSE}`,
    `requests          ${count}`,
    `database queries  ${metrics['seat_queries']?.values['value'] ?? 'not counted: no PROMETHEUS_URL'}`,
    `p50               ${Math.round(med)} ms`,
    `p95               ${Math.round(p95)} ms`,
    `failures          ${metrics['seat_failures']?.values['passes'] ?? 0}`,
  ];
  return { stdout: `${lines.join('\n')}\n` };
}

/** The part of k6's summary that is told. */
interface Summary {
  readonly metrics: Readonly<Record<string, { readonly values: Readonly<Record<string, number>> } | undefined>>;
}

/** Seat queries of all replicas since they started, as Prometheus has them. */
function countSeatQueries(): number | undefined {
  if (PROMETHEUS_URL === undefined) return undefined;
  sleep(SCRAPED_SECONDS);
  const answer = http.get(`${PROMETHEUS_URL}/api/v1/query?query=sum(ticket_shop_seat_queries_total)`);
  return Number(answer.json('data.result.0.value.1') ?? 0);
}
