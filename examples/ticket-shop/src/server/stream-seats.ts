import { once } from 'node:events';

import type { Request, RequestHandler, Response } from 'express';

/**
 * Streams values as server-sent events, one per value, until the client goes away. A client that reads slowly gets the
 * newest value when it is ready for one, not all that it missed: `watch` keeps only the newest.
 */
export function streamEvents<T>(watch: (request: Request, signal: AbortSignal) => AsyncIterable<T>): RequestHandler {
  return async (request, response) => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const values = watch(request, gone.signal)[Symbol.asyncIterator]();
    // The first value decides whether there is a stream at all: its failure is an ordinary error answer.
    let next = await values.next();
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' });
    while (next.done !== true && !gone.signal.aborted) {
      await send(response, `data: ${JSON.stringify(next.value)}\n\n`, gone.signal);
      next = await values.next();
    }
    response.end();
  };
}

async function send(response: Response, event: string, signal: AbortSignal): Promise<void> {
  if (response.write(event)) return;
  await once(response, 'drain', { signal }).catch(() => undefined); // the client went away while it was not reading
}
