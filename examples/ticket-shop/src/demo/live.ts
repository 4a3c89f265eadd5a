import type { CollapseMode } from '../server/collapsing.js';
import type { Answers } from './answers.js';
import { startHistory } from './history.js';
import { measure, type Stage } from './measure.js';
import type { Replicas } from './replicas.js';
import type { Comparison } from './report.js';
import type { Burst, Status } from './status.js';
import { createVisitors } from './visitors.js';

/** The shop while it runs: what the live page shows, and what its buttons do. */
export interface Live {
  status(): Status;
  /** Hears of each change until it is told to stop. The visitors come while somebody watches. */
  watch(listener: () => void): () => void;
  /** Fires a burst; false when one is under way. */
  burst(): boolean;
  /** Resolves when every replica has obeyed. */
  collapse(mode: CollapseMode): Promise<void>;
  visitors(on: boolean): void;
  kill(number?: number): ReturnType<Replicas['kill']>;
  end(): void;
}

export interface Scene {
  readonly stage: Stage;
  readonly busyMs: number;
  readonly answers: Answers;
  readonly comparison: Comparison;
}

export async function createLive({ stage, busyMs, answers, comparison }: Scene): Promise<Live> {
  const { replicas, database, load } = stage;
  const first = { without: comparison.without, with: comparison.with };
  const visitors = await createVisitors(stage);
  const listeners = new Set<() => void>();
  const changed = () => listeners.forEach((listener) => listener());
  const history = startHistory(database, answers, changed);
  const state = { collapse: 'cluster' as CollapseMode, visitorsOn: true, bursting: false, lastBurst: null as Burst | null, ended: false };
  replicas.onChange(changed);

  /** Whatever was under way fails when everything is being stopped. */
  const report = (error: unknown) => void (state.ended || console.error(String(error)));

  /** They make way for a burst, so that PostgreSQL counts the queries of the burst alone. */
  const adjustVisitors = () => visitors.set(state.visitorsOn && !state.bursting && listeners.size > 0).catch(report);

  async function fire(): Promise<void> {
    const { collapse, lastBurst } = state;
    await adjustVisitors();
    const measurement = await measure(stage, { collapse, busyMs, verify: false });
    state.lastBurst = { number: (lastBurst?.number ?? 0) + 1, collapse, requests: load.requests, ...measurement };
  }

  return {
    status: () => ({
      collapse: state.collapse,
      visitors: { on: state.visitorsOn, count: visitors.count },
      bursting: state.bursting,
      busyMs,
      load,
      first,
      lastBurst: state.lastBurst,
      replicas: replicas.list(),
      seconds: history.seconds(),
    }),
    watch(listener) {
      listeners.add(listener);
      void adjustVisitors();
      return () => {
        listeners.delete(listener);
        void adjustVisitors();
      };
    },
    burst() {
      if (state.bursting) return false;
      state.bursting = true;
      changed();
      fire()
        .catch(report)
        .finally(() => {
          state.bursting = false;
          changed();
          void adjustVisitors();
        });
      return true;
    },
    async collapse(mode) {
      state.collapse = mode;
      changed();
      await replicas.configure({ collapse: mode, busyMs });
    },
    visitors(on) {
      state.visitorsOn = on;
      changed();
      void adjustVisitors();
    },
    kill: (number) => replicas.kill(number),
    end() {
      state.ended = true;
      history.end();
    },
  };
}
