/**
 * One operation on a register, as whoever did it saw it: it took effect at some moment from `from` to `until`. A write of
 * which nobody knows whether it happened has no end: `until` is Infinity.
 */
export interface RegisterOperation {
  readonly kind: 'write' | 'read';
  /** Written, or read; undefined for the empty register. Each value is written once. */
  readonly value: string | undefined;
  readonly from: number;
  readonly until: number;
}

/**
 * Whether there is one order of all operations of one register, in which each takes effect at a moment of its own time and
 * each read gives what was written last. The algorithm is that of Wing and Gong ("Testing and Verifying Concurrent Objects",
 * 1993), with Lowe's memory of what was tried ("Testing for linearizability", 2017); a register needs no more.
 */
export function isLinearizable(operations: readonly RegisterOperation[]): boolean {
  const timeline = new Timeline(operations);
  const tried = new Set<string>();
  const taken: { readonly call: Entry; readonly before: string | undefined }[] = [];
  const done = operations.map(() => '0');
  let register: string | undefined;
  let entry = timeline.first;
  while (timeline.first !== undefined && entry !== undefined) {
    const { index, operation, end } = entry;
    if (end === undefined) {
      // Somebody had to be done by now and is not: the last step was wrong.
      const last = taken.pop();
      if (last === undefined) return false;
      timeline.putBack(last.call);
      done[last.call.index] = '0';
      register = last.before;
      entry = last.call.next;
      continue;
    }
    if (operation.kind === 'write' || operation.value === register) {
      done[index] = '1';
      const next = operation.kind === 'write' ? operation.value : register;
      const state = `${done.join('')} ${next}`;
      if (!tried.has(state)) {
        tried.add(state);
        taken.push({ call: entry, before: register });
        register = next;
        timeline.takeOut(entry);
        entry = timeline.first;
        continue;
      }
      done[index] = '0';
    }
    entry = entry.next;
  }
  return true;
}

/** The reads that miss a write which had ended before they began, or one that came after it: none of a regular register does. */
export function readsThatMiss(operations: readonly RegisterOperation[]): readonly RegisterOperation[] {
  const writes = operations.filter(({ kind }) => kind === 'write');
  const byValue = new Map(writes.map((write) => [write.value, write]));
  return operations.filter((read) => {
    if (read.kind === 'write') return false;
    const seen = byValue.get(read.value)?.until ?? Number.NEGATIVE_INFINITY;
    return writes.some((write) => write.until < read.from && seen < write.from);
  });
}

/** The beginning of an operation, which knows its end, or the end of one. */
interface Entry {
  readonly index: number;
  readonly operation: RegisterOperation;
  readonly end: Entry | undefined;
  previous: Entry | undefined;
  next: Entry | undefined;
}

/** All beginnings and ends in the order of time, from which operations can be taken out and put back where they were. */
class Timeline {
  first: Entry | undefined;

  constructor(operations: readonly RegisterOperation[]) {
    const moments = operations.flatMap((operation, index) => {
      const end: Entry = { index, operation, end: undefined, previous: undefined, next: undefined };
      const begin: Entry = { index, operation, end, previous: undefined, next: undefined };
      return [
        { at: operation.from, order: 0, entry: begin },
        { at: operation.until, order: 1, entry: end },
      ];
    });
    // Of one moment, beginnings come first: operations that touch may have overlapped.
    const ordered = moments.toSorted((a, b) => (a.at === b.at ? a.order - b.order : a.at - b.at)).map(({ entry }) => entry);
    for (const [place, entry] of ordered.entries()) {
      entry.previous = ordered[place - 1];
      entry.next = ordered[place + 1];
    }
    this.first = ordered[0];
  }

  takeOut(begin: Entry): void {
    this.#unlink(begin);
    if (begin.end !== undefined) this.#unlink(begin.end);
  }

  putBack(begin: Entry): void {
    if (begin.end !== undefined) this.#link(begin.end);
    this.#link(begin);
  }

  #unlink(entry: Entry): void {
    if (entry.previous === undefined) this.first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next !== undefined) entry.next.previous = entry.previous;
  }

  #link(entry: Entry): void {
    if (entry.previous === undefined) this.first = entry;
    else entry.previous.next = entry;
    if (entry.next !== undefined) entry.next.previous = entry;
  }
}
