import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { type CollapseMode, isCollapseMode } from '../server/collapsing.js';
import { measure, type Measurement, type Stage } from './measure.js';

/** The page that shows the shop while it runs, and its buttons. */
export interface Live {
  /** Answers the page's own paths, `/` and `/demo/…`; false for everything else, which is the shop's. */
  answer(request: IncomingMessage, response: ServerResponse): boolean;
  /** Starts to count; until then the page says that the demo is still measuring. */
  begin(scene: Scene): void;
  end(): void;
}

export interface Scene {
  readonly stage: Stage;
  readonly busyMs: number;
  /** How many requests the load balancer has passed on so far. */
  readonly requests: () => number;
}

interface Sample {
  readonly requests: number;
  readonly databaseQueries: number;
}

interface Show {
  readonly scene: Scene;
  readonly perSecond: Sample[];
  collapse: CollapseMode;
  bursting: boolean;
  lastBurst: Measurement | undefined;
}

const SAMPLES_MAX = 60;

/** Creates the page; it counts nothing before `begin`. */
export function createLive(): Live {
  const page = readFileSync(new URL('../../public/index.html', import.meta.url));
  let show: Show | undefined;
  let sampling: NodeJS.Timeout | undefined;
  return {
    answer(request, response) {
      const path = (request.url ?? '/').split('?')[0] ?? '/';
      if (path === '/' && request.method === 'GET') return sendPage(response, page);
      if (!path.startsWith('/demo/')) return false;
      if (show === undefined) return sendJson(response, 503, { error: 'still_measuring' });
      return act(show, `${request.method} ${path}`, request, response);
    },
    begin(scene) {
      const begun: Show = { scene, perSecond: [], collapse: 'cluster', bursting: false, lastBurst: undefined };
      show = begun;
      const sample = createSampler(begun);
      const sampleOrSkip = () => void sample().catch(() => {}); // the next sample covers one that fails
      sampleOrSkip();
      sampling = setInterval(sampleOrSkip, 1_000);
    },
    end: () => clearInterval(sampling),
  };
}

/** Each sample holds what was added since the one before. */
function createSampler(show: Show): () => Promise<void> {
  const { stage, requests } = show.scene;
  let before: Sample | undefined;
  return async () => {
    const now = { requests: requests(), databaseQueries: await stage.database.seatQueries() };
    if (before !== undefined) {
      show.perSecond.push({ requests: now.requests - before.requests, databaseQueries: now.databaseQueries - before.databaseQueries });
      if (show.perSecond.length > SAMPLES_MAX) show.perSecond.shift();
    }
    before = now;
  };
}

function act(show: Show, what: string, request: IncomingMessage, response: ServerResponse): boolean {
  if (what === 'GET /demo/status') return sendJson(response, 200, status(show));
  // A page of another origin cannot send this header without being asked for permission first, which it does not get.
  if (request.headers['x-demo'] === undefined) return sendJson(response, 403, { error: 'x_demo_header_missing' });
  const mode = new URLSearchParams(request.url?.split('?')[1]).get('mode');
  if (what === 'POST /demo/burst') return startBurst(show, response);
  if (what === 'POST /demo/collapse' && isCollapseMode(mode)) return switchTo(show, mode, response);
  if (what === 'POST /demo/kill') return sendJson(response, 200, { killed: show.scene.stage.replicas.killOne() ?? null });
  return sendJson(response, 404, { error: 'not_found' });
}

function status({ scene, perSecond, collapse, bursting, lastBurst }: Show) {
  const { load, replicas } = scene.stage;
  return {
    collapse,
    bursting,
    busyMs: scene.busyMs,
    replicas: { running: replicas.ports().length, wanted: load.replicas },
    load,
    perSecond,
    lastBurst: lastBurst ?? null,
  };
}

function startBurst(show: Show, response: ServerResponse): boolean {
  if (show.bursting) return sendJson(response, 409, { error: 'burst_under_way' });
  show.bursting = true;
  measure(show.scene.stage, { collapse: show.collapse, busyMs: show.scene.busyMs, verify: false })
    .then((measurement) => (show.lastBurst = measurement))
    .catch((error: unknown) => console.error(String(error)))
    .finally(() => (show.bursting = false));
  return sendJson(response, 202, { started: true });
}

function switchTo(show: Show, collapse: CollapseMode, response: ServerResponse): boolean {
  show.collapse = collapse;
  show.scene.stage.replicas
    .configure({ collapse, busyMs: show.scene.busyMs })
    .then(() => sendJson(response, 200, { collapse }))
    .catch((error: unknown) => sendJson(response, 500, { error: String(error) }));
  return true;
}

function sendPage(response: ServerResponse, page: Buffer): boolean {
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(page);
  return true;
}

function sendJson(response: ServerResponse, statusCode: number, value: unknown): boolean {
  response.writeHead(statusCode, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(value));
  return true;
}
