import type { Random } from './random.js';

/** Whatever can be stopped for a while, or for good: what was scheduled for it waits, or is forgotten. */
export interface Owner {
  readonly state: 'running' | 'paused' | 'gone';
}

interface Entry {
  at: number;
  /** Decides between entries of one moment: any order is possible, and the seed chooses. */
  tie: number;
  readonly owner: Owner | undefined;
  readonly run: () => void;
}

/** All that will happen, in the order of simulated time. Nothing happens on its own: each step runs one entry. */
export class Timeline {
  readonly #random: Random;
  readonly #entries: Entry[] = [];
  readonly #held = new Map<Owner, Entry[]>();
  #now = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  now(): number {
    return this.#now;
  }

  /** When the next entry is due; Infinity when there is none. */
  get nextAt(): number {
    return this.#entries[0]?.at ?? Infinity;
  }

  schedule(delayMs: number, owner: Owner | undefined, run: () => void): { cancel(): void } {
    const entry: Entry = { at: this.#now + Math.max(0, delayMs), tie: this.#random.next(), owner, run };
    this.#insert(entry);
    return { cancel: () => this.#remove(entry) };
  }

  /** Moves time to the next entry and runs it, with everything that promises do because of it. */
  async step(): Promise<void> {
    const entry = this.#entries.shift();
    if (entry === undefined) return;
    this.#now = Math.max(this.#now, entry.at);
    switch (entry.owner?.state) {
      case 'gone':
        return;
      case 'paused':
        this.#hold(entry.owner, entry);
        return;
      case 'running':
      case undefined:
        entry.run();
        await new Promise<void>((resolve) => nextTurn(resolve));
    }
  }

  /** Moves time on where nothing is due. */
  skipTo(at: number): void {
    if (at < this.nextAt) this.#now = Math.max(this.#now, at);
  }

  /** What was held while the owner was paused is due now, all at once, in its own order or shuffled. */
  release(owner: Owner, keepsOrder: boolean): void {
    const held = this.#held.get(owner) ?? [];
    this.#held.delete(owner);
    const ties = held.map(() => this.#random.next());
    if (keepsOrder) ties.sort((left, right) => left - right);
    for (const [place, entry] of held.entries()) this.#insert(Object.assign(entry, { at: this.#now, tie: ties[place] ?? 0 }));
  }

  #hold(owner: Owner, entry: Entry): void {
    this.#held.set(owner, [...(this.#held.get(owner) ?? []), entry]);
  }

  #insert(entry: Entry): void {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#entries[middle];
      if (other !== undefined && (other.at < entry.at || (other.at === entry.at && other.tie <= entry.tie))) low = middle + 1;
      else high = middle;
    }
    this.#entries.splice(low, 0, entry);
  }

  #remove(entry: Entry): void {
    const lists = [this.#entries, ...(entry.owner === undefined ? [] : [this.#held.get(entry.owner) ?? []])];
    for (const list of lists) {
      const place = list.indexOf(entry);
      if (place !== -1) list.splice(place, 1);
    }
  }
}

/** Taken at import: a test may replace the global by a fake that never runs. A turn of the event loop empties the microtask queue. */
const nextTurn = setImmediate;
