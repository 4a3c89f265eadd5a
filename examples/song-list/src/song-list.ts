import type { Collapser } from '@oneflight/core';
import type { Song } from './songs.js';

const KEY = ['songs', 'by likes'];

/** The list as it was last sorted, in this process's memory: a read costs nothing, not even a round trip. */
export interface SongList {
  read(): readonly Song[];
  /**
   * To be awaited after a change. All replicas get a new list from one sort; changes of the same moment share it, and one
   * that comes while it is being made leads to one more.
   */
  changed(): Promise<void>;
}

/** Resolves with the first list; from then on `watch` brings a new one after each change, on whichever replica it was made. */
export async function followSongList(collapser: Collapser, sort: () => Promise<readonly Song[]>): Promise<SongList> {
  const lists = collapser.watch(KEY, sort, {
    isolate: 'freeze', // all requests of this replica share one list, and none of them can disturb it
    onError: (error) => console.error('the songs could not be sorted; the list before stays:', error),
  });
  let newest: readonly Song[] | undefined;
  await new Promise<void>((resolve, reject) => {
    async function follow(): Promise<void> {
      for await (const list of lists) {
        newest = list; // replaced as a whole: a reader sees the list before or the list after
        resolve();
      }
    }
    follow().catch(reject);
  });
  return { read: () => newest ?? [], changed: () => collapser.invalidate(KEY) };
}
