import type { Response } from 'express';

import type { Answer } from './answer.js';
import { replayStored } from './cache/replay-stored.js';
import type { Exchange } from './exchange.js';
import type { Site } from './site.js';

/** Answers a request with what is stored. */
export function answerFromStore(site: Site, { request, response }: Exchange, answer: Answer, ageMs: number): void {
  const { tally } = site;
  const ttlMs = (answer.terms?.ttlMs ?? 0) - ageMs;
  tally.replayed++;
  if (ttlMs > 0) tally.hits++;
  else tally.stale++;
  replayStored(request, response, answer, () => {
    response.setHeader('Age', Math.floor(ageMs / 1_000));
    site.tell(response, { how: 'hit', ttlMs });
  });
}

/** Counts a request that nobody needs to answer any more. */
export function noteGone({ tally }: Site, { headersSent }: Response): void {
  if (headersSent) tally.elsewhere++;
  else tally.note({ type: 'left', reason: 'waiting' });
}
