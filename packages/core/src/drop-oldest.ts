/** Keeps a map or set within its bound: the entry that was added first goes. */
export function dropOldest<K>(entries: { keys(): Iterable<K>; delete(key: K): unknown }): void {
  for (const oldest of entries.keys()) {
    entries.delete(oldest);
    return;
  }
}
