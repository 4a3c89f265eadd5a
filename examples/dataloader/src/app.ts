import type { Collapser } from '@oneflight/core';
import type DataLoader from 'dataloader';
import express, { type Express, type RequestHandler } from 'express';
import type { Pool } from 'pg';
import { createUserLoader } from './user-loader.js';
import { queryUsers, type User } from './users.js';

export function createApp(pool: Pool, collapser: Collapser): Express {
  const app = express();
  app.get('/users', showUsers(pool, collapser));
  return app;
}

function showUsers(pool: Pool, collapser: Collapser): RequestHandler {
  return async (request, response) => {
    const { ids: text } = request.query;
    const ids = typeof text === 'string' ? text.split(',').map(Number) : [];
    if (!ids.every(isId)) return void response.status(400).json({ error: 'bad_ids' });
    // One per request: a DataLoader remembers what it has loaded, and nobody else may see that.
    const loader = createUserLoader(collapser, (toLoad) => queryUsers(pool, toLoad));
    response.json(await Promise.all(ids.map((id) => resolveUser(loader, id))));
  };
}

function isId(id: number): boolean {
  return Number.isInteger(id) && id > 0 && id <= ID_MAX;
}

/** PostgreSQL's `int`. */
const ID_MAX = 2_147_483_647;

/** What a resolver of GraphQL does: it asks for one user, and knows nothing of the others. */
async function resolveUser(loader: DataLoader<number, User>, id: number): Promise<object> {
  try {
    return await loader.load(id);
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) };
  }
}
