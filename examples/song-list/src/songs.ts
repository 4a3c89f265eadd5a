import type { Pool } from 'pg';

export interface Song {
  readonly id: number;
  readonly title: string;
  readonly artist: string;
  readonly likes: number;
}

/** All songs, most liked first. The expensive part: it reads and sorts everything. */
export async function sortSongs(pool: Pool): Promise<readonly Song[]> {
  const { rows } = await pool.query<Song>(
    `SELECT songs.id, title, artists.name AS artist, likes
     FROM song_list.songs JOIN song_list.artists ON artists.id = artist_id
     ORDER BY likes DESC, songs.id`,
  );
  return rows;
}

/** Returns the song's likes, this one included; undefined where there is no such song. Committed when it returns. */
export async function likeSong(pool: Pool, songId: number): Promise<number | undefined> {
  const { rows } = await pool.query<{ likes: number }>('UPDATE song_list.songs SET likes = likes + 1 WHERE id = $1 RETURNING likes', [
    songId,
  ]);
  return rows[0]?.likes;
}

/** Creates and fills the tables, once, also when several replicas start together. */
export async function prepareDatabase(pool: Pool): Promise<void> {
  await pool.query(`DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('song_list'));
    IF to_regclass('song_list.songs') IS NOT NULL THEN RETURN; END IF;
    CREATE SCHEMA song_list;
    CREATE TABLE song_list.artists (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE song_list.songs (
      id int PRIMARY KEY,
      title text NOT NULL,
      artist_id int NOT NULL REFERENCES song_list.artists,
      likes int NOT NULL);
    INSERT INTO song_list.artists SELECT a, 'Artist ' || a FROM generate_series(1, 20) a;
    INSERT INTO song_list.songs SELECT s, 'Song ' || s, 1 + s % 20, s % 7 FROM generate_series(1, 200) s;
  END $$`);
}
