import { Agent, get } from 'node:http';

import { isMessage } from './child.js';
import type { BurstOrder, BurstReport } from './burst.js';

/*
 * Fires bursts from a process of its own, so that neither the proxy nor the replicas wait for it. All requests of a
 * burst are sent in one turn of the event loop, on connections that earlier bursts have opened.
 */
const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });

process.on('disconnect', () => process.exit(0));
process.on('message', (message: unknown) => {
  if (isOrder(message)) void fire(message).then((report) => process.send?.({ kind: 'fired', report }, undefined, undefined, () => {}));
});

function isOrder(message: unknown): message is BurstOrder & { kind: 'fire' } {
  return isMessage(message) && message.kind === 'fire' && Array.isArray(message['requests']) && Array.isArray(message['targets']);
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
