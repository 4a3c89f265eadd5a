import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import type { Pool } from 'pg';

import type { Collapsing } from './collapsing.js';
import { holdSeat } from './hold-seat.js';
import type { ShopMetrics } from './metrics.js';
import { loadSeatMap, type SeatMap } from './seat-map.js';
import { streamEvents } from './stream-seats.js';

export interface Shop {
  readonly pool: Pool;
  readonly collapsing: Collapsing;
  readonly metrics: ShopMetrics;
  /** See `ServerConfig`; the demo changes it while the shop runs. */
  busyMs: number;
}

/** The shop's routes. */
export function createApp(shop: Shop): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok', collapse: shop.collapsing.mode });
  });
  const collapse: RequestHandler = (request, response, next) => shop.collapsing.middleware(request, response, next);
  app.get('/api/matches', collapse, listMatches(shop));
  app.get('/api/matches/:matchId/blocks', onlyWithIds('matchId'), collapse, listBlocks(shop));
  app.get('/api/matches/:matchId/blocks/:blockId/seats', onlyWithIds('matchId', 'blockId'), showSeats(shop));
  app.get('/api/matches/:matchId/blocks/:blockId/events', onlyWithIds('matchId', 'blockId'), watchSeats(shop));
  app.post('/api/matches/:matchId/blocks/:blockId/seats/:seatId/hold', onlyWithIds('matchId', 'blockId', 'seatId'), hold(shop));
  app.use((_request: Request, response: Response) => {
    response.status(404).json({ error: 'not_found' });
  });
  app.use(reportError);
  return app;
}

function listMatches({ pool }: Shop): RequestHandler {
  return async (_request, response) => {
    const { rows } = await pool.query('SELECT id, title FROM ticket_shop.matches ORDER BY id');
    response.json(rows);
  };
}

function listBlocks({ pool }: Shop): RequestHandler {
  return async (request, response) => {
    const { rows } = await pool.query(BLOCKS_QUERY, [Number(request.params['matchId'])]);
    if (rows.length === 0) response.status(404).json({ error: 'no_such_match' });
    else response.json(rows);
  };
}

const BLOCKS_QUERY = `
  SELECT blocks.id, name, cents AS "priceCents"
  FROM ticket_shop.blocks JOIN ticket_shop.prices ON prices.category = price_category
  WHERE match_id = $1 ORDER BY blocks.id`;

/** By `run` and not by the middleware, because a hold must fence it: `invalidate` takes this very key. */
function showSeats(shop: Shop): RequestHandler {
  return async (request, response) => {
    const block = { matchId: Number(request.params['matchId']), blockId: Number(request.params['blockId']) };
    const load = () => querySeats(shop, block);
    const seatMap = shop.collapsing.mode === 'off' ? await load() : await shop.collapsing.run(seatsKey(block), load);
    if (seatMap === null) response.status(404).json({ error: 'no_such_block' });
    else response.json(seatMap);
  };
}

/** The seat map now, and a new one after each hold on whichever replica: one query for all who watch, however many. */
function watchSeats(shop: Shop): RequestHandler {
  return streamEvents((request, signal) => {
    const block = { matchId: Number(request.params['matchId']), blockId: Number(request.params['blockId']) };
    const load = () => querySeats(shop, block);
    return shop.collapsing.watch(seatsKey(block), load, signal);
  });
}

function querySeats(shop: Shop, block: { matchId: number; blockId: number }): Promise<SeatMap | null> {
  shop.metrics.seatQueries.inc();
  return loadSeatMap(shop.pool, { ...block, busyMs: shop.busyMs }).then((map) => map ?? null);
}

function hold(shop: Shop): RequestHandler {
  return async (request, response) => {
    const { matchId, blockId, seatId } = request.params;
    const seat = { matchId: Number(matchId), blockId: Number(blockId), seatId: Number(seatId) };
    const held = await holdSeat(shop.pool, seat);
    if (held.result === 'unknown') return void response.status(404).json({ error: 'no_such_seat' });
    if (held.result === 'taken') return void response.status(409).json({ error: 'seat_taken' });
    await invalidateSeats(shop, seat);
    response.status(201).json({ holdId: held.holdId, heldUntil: held.heldUntil });
  };
}

/** The hold is committed already, so the customer gets it also when Redis could not be told. */
async function invalidateSeats(shop: Shop, block: { matchId: number; blockId: number }): Promise<void> {
  try {
    await shop.collapsing.invalidate(seatsKey(block));
  } catch (error) {
    console.error('seats are held, but other replicas may answer once more from a query that was under way:', error);
  }
}

function seatsKey(block: { matchId: number; blockId: number }) {
  return ['seats', block.matchId, block.blockId] as const;
}

function onlyWithIds(...names: readonly string[]): RequestHandler {
  return (request, response, next) => {
    const wrong = names.find((name) => !isId(request.params[name]));
    if (wrong === undefined) return next();
    response.status(400).json({ error: 'bad_id', message: `${wrong}: expected a whole number from 1 to ${ID_MAX}` });
  };
}

function isId(text: unknown): boolean {
  return typeof text === 'string' && /^[1-9][0-9]{0,9}$/.test(text) && Number(text) <= ID_MAX;
}

/** PostgreSQL's `int`. */
const ID_MAX = 2_147_483_647;

function reportError(error: unknown, _request: Request, response: Response, next: NextFunction): void {
  console.error(error);
  if (response.headersSent) return next(error);
  response.status(500).json({ error: 'internal' });
}
