import express, { type Express, type RequestHandler } from 'express';
import type { Pool } from 'pg';
import type { SongList } from './song-list.js';
import { likeSong } from './songs.js';

export function createApp(pool: Pool, list: SongList): Express {
  const app = express();
  app.get('/songs', (_request, response) => {
    response.json(list.read());
  });
  app.post('/songs/:songId/like', like(pool, list));
  return app;
}

function like(pool: Pool, list: SongList): RequestHandler<{ songId: string }> {
  return async (request, response) => {
    const songId = Number(request.params.songId);
    const likes = Number.isSafeInteger(songId) ? await likeSong(pool, songId) : undefined;
    if (likes === undefined) return void response.status(404).json({ error: 'no_such_song' });
    // The like is committed: it counts also where other replicas could not be told. They sort again at the next change.
    await list.changed().catch((error: unknown) => console.error('other replicas could not be told of a like:', error));
    response.json({ likes });
  };
}
