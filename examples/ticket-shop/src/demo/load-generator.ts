import { setMaxListeners } from 'node:events';
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { isMessage } from './child.js';
import type { BurstOrder, BurstReport } from './burst.js';
import type { VisitorsOrder } from './visitors.js';

/*
 * Fires bursts, and plays the visitors of the live page, from a process of its own, so that neither the proxy nor the
 * replicas wait for it. All requests of a burst are sent in one turn of the event loop, on connections that earlier
 * bursts have opened.
 */
const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });

process.on('disconnect', () => process.exit(0));
process.on('message', (message: unknown) => {
  if (isOrder(message)) void fire(message).then((report) => tell({ kind: 'fired', report }));
  if (isVisitorsOrder(message)) void setVisitors(message).then(() => tell({ kind: 'visitors-set' }));
});

/** A parent that has gone does not hear it. */
function tell(message: object): void {
  process.send?.(message, undefined, undefined, () => {});
}

function isOrder(message: unknown): message is BurstOrder & { kind: 'fire' } {
  return isMessage(message) && message.kind === 'fire' && Array.isArray(message['requests']) && Array.isArray(message['targets']);
}

function isVisitorsOrder(message: unknown): message is VisitorsOrder & { kind: 'visitors' } {
  return isMessage(message) && message.kind === 'visitors' && Array.isArray(message['paths']);
}

async function fire({ port, requests, targets }: BurstOrder): Promise<BurstReport> {
  const startedAt = performance.now();
  const answers = await Promise.all(requests.map((target) => ask(port, targets[target]?.path ?? '/')));
  const durationMs = performance.now() - startedAt;
  const failures: Record<string, number> = {};
  for (const [index, answer] of answers.entries()) {
    const why = failureOf(answer, targets[requests[index] ?? -1]?.expected);
    if (why !== undefined) failures[why] = (failures[why] ?? 0) + 1;
  }
  return { latenciesMs: answers.map((answer) => answer.tookMs), durationMs, failures };
}

let closing = new AbortController();
let visits: Promise<unknown> = Promise.resolve();

/** Resolves when the visitors of before have their last answers, and the new ones have come. */
async function setVisitors(order: VisitorsOrder): Promise<void> {
  closing.abort();
  await visits;
  closing = new AbortController();
  const { signal } = closing;
  setMaxListeners(order.visitors, signal);
  visits = Promise.all(Array.from({ length: order.visitors }, () => visit(order, signal)));
}

/** One visitor: thinks for a while, looks at some block, and so on, and leaves on the signal. */
async function visit({ port, thinkMs, paths }: VisitorsOrder, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // Exponentially distributed, as independent arrivals are: visitors who got one answer together do not stay together.
    await sleep(Math.min(5, -Math.log(1 - Math.random())) * thinkMs, undefined, { signal }).catch(() => {});
    if (!signal.aborted) await ask(port, paths[Math.floor(Math.random() * paths.length)] ?? '/');
  }
}

interface Answer {
  readonly tookMs: number;
  readonly status: number | string;
  readonly body: string;
}

function ask(port: number, path: string): Promise<Answer> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const settle = (status: number | string, body = '') => resolve({ tookMs: performance.now() - startedAt, status, body });
    const request = get({ agent, host: '127.0.0.1', port, path, timeout: 60_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => settle(response.statusCode ?? 0, Buffer.concat(chunks).toString()));
      response.on('error', (error) => settle(error.message));
    });
    request.on('timeout', () => request.destroy(new Error('no answer for 60 seconds')));
    request.on('error', (error) => settle(error.message));
  });
}

/** An answer that says something else than the database does is a failure too. */
function failureOf(answer: Answer, expected: string | undefined): string | undefined {
  if (answer.status !== 200) return `${answer.status}`;
  return expected === undefined || answer.body === expected ? undefined : 'wrong body';
}
