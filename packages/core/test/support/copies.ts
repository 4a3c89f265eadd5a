import type { Coordinator, CoordinatorLink, CopyStats } from '../../src/index.js';

/** A coordinator whose links say that they hold copies of stored values; `stats` are what they tell. */
export function holdingCopies(coordinator: Coordinator, stats: () => CopyStats): Coordinator {
  return {
    ...(coordinator.clock !== undefined && { clock: coordinator.clock }),
    connect: (replica) => Object.assign(coordinator.connect(replica), { copies: stats } satisfies Partial<CoordinatorLink>),
  };
}

export const NO_COPIES: CopyStats = Object.freeze({
  ...{ hits: 0, misses: 0, outdated: 0, evicted: 0, invalidated: 0, cleared: 0, entries: 0, bytes: 0, bytesMax: 1_000 },
});
