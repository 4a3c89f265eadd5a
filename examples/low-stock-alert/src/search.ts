import type { Collapser } from '@oneflight/core';
import type { Product } from './products.js';

/** How many products a page shows. */
const PAGE = 5;
/** A keyword whose products have fewer pieces than this between them is running low. */
const LOW = 20;

export interface SearchOptions {
  readonly collapser: Collapser;
  /** The query: made once for all who search for the same at the same time, on whichever replica. */
  readonly find: (keyword: string) => Promise<Product[]>;
  /** Tells the people who order new stock. */
  readonly alert: (warning: { keyword: string; pieces: number }, signal: AbortSignal) => Promise<void>;
  /** They are told of a keyword once in this time. */
  readonly alertEveryMs: number;
}

export interface Page {
  /** How many products there are. */
  readonly total: number;
  /** Some of them, in another order for everybody. */
  readonly products: readonly Product[];
}

export function createSearch({ collapser, find, alert, alertEveryMs }: SearchOptions): (text: string) => Promise<Page> {
  return async (text) => {
    const keyword = text.trim().toLowerCase();
    // 'clone': the list is this caller's own, to shuffle and to cut.
    const products = await collapser.run(['search', keyword], () => find(keyword), { isolate: 'clone' });
    const pieces = products.reduce((sum, { stock }) => sum + stock, 0);
    if (pieces < LOW) void alertOnce(keyword, pieces);
    const total = products.length;
    shuffle(products);
    products.splice(PAGE);
    return { total, products };
  };

  /** Nobody who searches waits for it, and none of them fails with it: the next one who finds the keyword low tries again. */
  async function alertOnce(keyword: string, pieces: number): Promise<void> {
    try {
      await collapser.once(['low stock', keyword], ({ signal }) => alert({ keyword, pieces }, signal), { ttlMs: alertEveryMs });
    } catch (error) {
      console.error(`nobody could be told that '${keyword}' is running low:`, error);
    }
  }
}

function shuffle(items: unknown[]): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
}
