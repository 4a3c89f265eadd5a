import type { Collapser } from '@oneflight/core';
import DataLoader from 'dataloader';
import type { User, UserOrError } from './users.js';

/**
 * A DataLoader for one request. It gathers the ids that the request asks for in one tick; `runMany` then loads those that
 * no replica is loading at the moment, by one query, and takes the others from where they are loaded.
 */
export function createUserLoader(
  collapser: Collapser,
  query: (ids: readonly number[]) => Promise<ReadonlyMap<number, UserOrError>>,
): DataLoader<number, User> {
  return new DataLoader(async (ids: readonly number[]) => {
    const failures = new Map<number, Error>();
    const users = await collapser.runMany<number, User>(
      ids,
      async (toLoad, batch) => {
        const found = new Map<number, User>();
        for (const [id, user] of await query(toLoad)) {
          if (user instanceof Error) batch.fail(id, user); // fails this id alone, for everybody who waits for it
          else found.set(id, user);
        }
        return found;
      },
      {
        key: (id) => ['user', id],
        onKeyError: (id, error) => failures.set(id, error instanceof Error ? error : new Error(String(error))),
      },
    );
    // DataLoader wants an answer for each id, in their order: a value or an Error.
    return ids.map((id) => users.get(id) ?? failures.get(id) ?? new Error(`there is no user ${id}`));
  });
}
