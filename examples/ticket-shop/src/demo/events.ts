import type { ServerResponse } from 'node:http';

import type { Live } from './live.js';

/** How long changes are gathered before they are sent. */
const GATHER_MS = 200;

/** Streams the whole status as server-sent events: at once, and after each change. A slow reader misses some. */
export function sendEvents(live: Live, response: ServerResponse): void {
  let timer: NodeJS.Timeout | undefined;
  const send = () => {
    timer = undefined;
    if (!response.writableNeedDrain) response.write(`data: ${JSON.stringify(live.status())}\n\n`);
  };
  const stop = live.watch(() => (timer ??= setTimeout(send, GATHER_MS)));
  response.on('close', () => {
    clearTimeout(timer);
    stop();
  });
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  send();
}
