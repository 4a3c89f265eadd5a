import type { Collapser } from '../collapser.js';
import type { CircuitState } from '../coordinator.js';
import type { CollapserStats } from '../stats.js';
import { LABEL_VALUES } from './labels.js';
import type { Maker } from './maker.js';
import { VERSION } from './version.js';

/** What is known of a collapser beside its `stats`. */
export interface CollapserState {
  readonly namespace: string;
  readonly listening: boolean;
  readonly circuit: CircuitState;
}

/** The metrics that are read when somebody looks. Collapsers with the same label count as one. */
export function stateGauges(make: Maker, states: () => ReadonlyMap<Collapser, CollapserState>): void {
  const counted = (name: string, help: string, count: (stats: CollapserStats) => number) =>
    make.gauge(name, help, ['namespace'], 'sum', (set) => {
      for (const [namespace, group] of groups(states()))
        set(
          { namespace },
          sum(group, ([collapser]) => count(collapser.stats())),
        );
    });
  counted('inflight_keys', 'Flights of this process that still answer somebody.', ({ flights }) => flights);
  counted('inflight_executions', 'Runs of the loader in this process at the moment.', ({ loading }) => loading);
  counted('waiters', 'Callers of this process that wait at the moment.', ({ waiters }) => waiters);
  counted('watchers', 'Iterations of watch in this process at the moment.', ({ watchers }) => watchers);
  counted('invalidations_owed', 'Keys and tags whose invalidation the coordinator has not acknowledged yet.', ({ owed }) => owed);
  make.gauge(
    'coordinator_degraded',
    '1 while the coordinator is out of reach and this process loads without it.',
    ['namespace'],
    'max',
    (set) => {
      for (const [namespace, group] of groups(states()))
        set({ namespace }, group.some(([collapser]) => collapser.stats().degraded) ? 1 : 0);
    },
  );
  make.gauge('coordinator_listening', '1 while messages of other replicas come in, 0 while they do not.', ['namespace'], 'min', (set) => {
    for (const [namespace, group] of groups(states())) set({ namespace }, group.every(([, { listening }]) => listening) ? 1 : 0);
  });
  make.gauge('circuit_state', "State of the coordinator's circuit breaker: the current one is 1.", ['namespace', 'state'], 'max', (set) => {
    for (const [namespace, group] of groups(states())) {
      for (const state of LABEL_VALUES.circuit) set({ namespace, state }, group.some(([, { circuit }]) => circuit === state) ? 1 : 0);
    }
  });
  make.gauge('build_info', 'The version of @oneflight/core, always 1.', ['version'], 'first', (set) => set({ version: VERSION }, 1));
}

type Entry = readonly [Collapser, CollapserState];

function groups(states: ReadonlyMap<Collapser, CollapserState>): Map<string, Entry[]> {
  const byNamespace = new Map<string, Entry[]>();
  for (const entry of states) {
    const { namespace } = entry[1];
    const group = byNamespace.get(namespace);
    if (group === undefined) byNamespace.set(namespace, [entry]);
    else group.push(entry);
  }
  return byNamespace;
}

function sum(group: readonly Entry[], count: (entry: Entry) => number): number {
  return group.reduce((total, entry) => total + count(entry), 0);
}
