import type { Collapser } from '../collapser.js';
import type { CopyStats } from '../coordinator.js';
import type { Maker } from './maker.js';

const READS = { hit: 'hits', miss: 'misses', outdated: 'outdated' } as const;
const DROPS = { evicted: 'evicted', invalidated: 'invalidated', cleared: 'cleared' } as const;
const COUNTED = ['hits', 'misses', 'outdated', 'evicted', 'invalidated', 'cleared'] as const;

/** Values of the labels of these metrics. */
export const COPY_LABEL_VALUES = { result: Object.keys(READS), reason: Object.keys(DROPS) };

type Counts = Record<(typeof COUNTED)[number], number>;

/** Metrics of the copies that processes hold, read from `stats` when somebody looks. Collapsers that hold none have no series. */
export class CopyMetrics {
  readonly #collected = new Map<Collapser, { readonly namespace: string; readonly before: CopyStats }>();
  /** What was counted of collapsers that are collected no more: counters never fall. */
  readonly #kept = new Map<string, Counts>();

  constructor(make: Maker) {
    make.readCounter('copy_reads_total', 'Reads of copies that this process holds, by result.', ['namespace', 'result'], (add) => {
      for (const [namespace, counts] of this.#counts()) {
        for (const [result, field] of Object.entries(READS)) add({ namespace, result }, counts[field]);
      }
    });
    make.readCounter('copies_dropped_total', 'Copies that were given up before their time, by reason.', ['namespace', 'reason'], (add) => {
      for (const [namespace, counts] of this.#counts()) {
        for (const [reason, field] of Object.entries(DROPS)) add({ namespace, reason }, counts[field]);
      }
    });
    const shown = (name: string, help: string, field: 'entries' | 'bytes' | 'bytesMax'): void => {
      make.gauge(name, help, ['namespace'], 'sum', (set) => {
        const sums = new Map<string, number>();
        for (const [collapser, { namespace }] of this.#collected) {
          sums.set(namespace, (sums.get(namespace) ?? 0) + (collapser.stats().copies?.[field] ?? 0));
        }
        for (const [namespace, value] of sums) set({ namespace }, value);
      });
    };
    shown('copies', 'Copies of stored values that this process holds at the moment.', 'entries');
    shown('copies_bytes', 'Bytes that the copies in this process take at the moment.', 'bytes');
    shown('copies_limit_bytes', 'Bytes that the copies in this process may take.', 'bytesMax');
  }

  add(collapser: Collapser, namespace: string): void {
    const before = collapser.stats().copies;
    if (before !== undefined) this.#collected.set(collapser, { namespace, before });
  }

  remove(collapser: Collapser): void {
    const found = this.#collected.get(collapser);
    if (found === undefined) return;
    this.#collected.delete(collapser);
    const kept = this.#kept.get(found.namespace) ?? noCounts();
    this.#kept.set(found.namespace, kept);
    count(kept, collapser, found.before);
  }

  #counts(): ReadonlyMap<string, Counts> {
    const byNamespace = new Map(Array.from(this.#kept, ([namespace, counts]) => [namespace, { ...counts }]));
    for (const [collapser, { namespace, before }] of this.#collected) {
      const counts = byNamespace.get(namespace) ?? noCounts();
      byNamespace.set(namespace, counts);
      count(counts, collapser, before);
    }
    return byNamespace;
  }
}

function noCounts(): Counts {
  return { hits: 0, misses: 0, outdated: 0, evicted: 0, invalidated: 0, cleared: 0 };
}

/** Adds what a collapser's copies did since it is collected. */
function count(counts: Counts, collapser: Collapser, before: CopyStats): void {
  const now = collapser.stats().copies ?? before;
  for (const field of COUNTED) counts[field] += now[field] - before[field];
}
