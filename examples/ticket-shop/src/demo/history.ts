import type { Answers } from './answers.js';
import type { Database } from './database.js';
import type { Second } from './status.js';

/** The last minute, second by second. */
export interface History {
  seconds(): readonly Second[];
  end(): void;
}

const SECONDS_MAX = 60;

/** Looks once a second until `end`; `onSecond` hears of each. A look that fails is covered by the next one. */
export function startHistory(database: Database, answers: Answers, onSecond: () => void): History {
  const seconds: Second[] = [];
  let queriesBefore: number | undefined;
  let looking = false;

  async function look(at: number): Promise<void> {
    const queries = await database.seatQueries();
    const summary = answers.take();
    if (queriesBefore !== undefined) seconds.push({ at, ...summary, databaseQueries: queries - queriesBefore });
    if (seconds.length > SECONDS_MAX) seconds.shift();
    queriesBefore = queries;
    onSecond();
  }

  async function lookOnce(): Promise<void> {
    if (looking) return;
    looking = true;
    await look(Math.round((performance.now() - startedAt) / 1_000)).catch(() => {});
    looking = false;
  }

  const startedAt = performance.now();
  void lookOnce();
  const timer = setInterval(() => void lookOnce(), 1_000);
  return { seconds: () => seconds, end: () => clearInterval(timer) };
}
