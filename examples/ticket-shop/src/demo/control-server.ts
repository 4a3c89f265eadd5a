import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

import { isCollapseMode } from '../server/collapsing.js';
import { readAssets } from './assets.js';
import { sendEvents } from './events.js';
import type { Live } from './live.js';

/** Serves the live page and obeys its buttons. Only the demo has one; the shop itself knows nothing of it. */
export interface ControlServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Starts it; port 0 picks a free one. */
export async function startControlServer({ live, host, port }: { live: Live; host: string; port: number }): Promise<ControlServer> {
  const assets = readAssets();
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const refusal = refuse(request);
    if (refusal !== undefined) return sendJson(response, 403, { error: refusal });
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const asset = request.method === 'GET' ? assets.get(pathname) : undefined;
    if (asset !== undefined) return void response.writeHead(200, { 'content-type': asset.type }).end(asset.body);
    answer(live, `${request.method} ${pathname}`, searchParams, response);
  });
  server.listen({ host, port });
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('expected a port from the system, got none');
  return {
    url: `http://127.0.0.1:${address.port}/`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/**
 * Other pages in the same browser reach loopback too. The name in `Host` unmasks one whose own name was made to point
 * here (DNS rebinding); the `Origin` of an order unmasks all others. Browsers set both, and pages cannot forge them.
 */
function refuse({ method, headers }: IncomingMessage): string | undefined {
  const { host = '', origin } = headers;
  if (!LOOPBACK.test(host)) return 'unknown_host';
  if (method !== 'GET' && origin !== `http://${host}`) return 'unknown_origin';
  return undefined;
}

const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

function answer(live: Live, what: string, parameters: URLSearchParams, response: ServerResponse): void {
  switch (what) {
    case 'GET /demo/status':
      return sendJson(response, 200, live.status());
    case 'GET /demo/events':
      return sendEvents(live, response);
    case 'POST /demo/burst':
      return live.burst() ? sendJson(response, 202, { started: true }) : sendJson(response, 409, { error: 'burst_under_way' });
    case 'POST /demo/collapse':
      return collapse(live, parameters.get('mode'), response);
    case 'POST /demo/visitors':
      live.visitors(parameters.get('on') === 'true');
      return sendJson(response, 200, live.status().visitors);
    case 'POST /demo/kill':
      return kill(live, parameters.get('replica'), response);
    default:
      return sendJson(response, 404, { error: 'not_found' });
  }
}

function collapse(live: Live, mode: string | null, response: ServerResponse): void {
  if (!isCollapseMode(mode)) return sendJson(response, 400, { error: 'unknown_mode' });
  live.collapse(mode).then(
    () => sendJson(response, 200, { collapse: mode }),
    (error: unknown) => sendJson(response, 500, { error: String(error) }),
  );
}

function kill(live: Live, replica: string | null, response: ServerResponse): void {
  const killed = live.kill(replica === null ? undefined : Number(replica));
  if (killed === undefined) sendJson(response, 409, { error: 'no_such_replica_running' });
  else sendJson(response, 200, { killed });
}

function sendJson(response: ServerResponse, statusCode: number, value: unknown): void {
  response.writeHead(statusCode, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
