import type { Fleet } from '../fleet.js';
import { interleaveFleets } from '../interleave.js';
import { monotonicMs } from '../loaded.js';
import { ageNote, exact } from '../report/words.js';
import { median, sum } from '../statistics.js';
import { FLOOR, OURS, type SystemId } from '../systems/index.js';
import { LEASE_MS } from '../systems/system.js';
import { range } from './burst.js';
import type { Scenario } from './scenario.js';

/** Those in which a replica waits for another one: the others have no leader that could die. */
const SUBJECTS: readonly SystemId[] = [OURS, FLOOR, 'dlock', 'redlock-polling', 'redis-semaphore'];
const REPLICAS = 4;
const CALLERS = 25;
const LOAD_MS = 600;
const KILL_AFTER_MS = 300;
const TARGET_MS = 500;

interface Sample {
  /** From the kill to the last answer on the replicas that live, less the time that a load takes. */
  readonly settledMs: number;
  readonly loads: number;
  readonly failures: number;
}

export const crashRecovery: Scenario = {
  what: 'the leader is killed in mid-load: how long the others wait',
  async run({ quick, systems = SUBJECTS }) {
    const plan = quick ? { warmUp: 0, rounds: 2 } : { warmUp: 1, rounds: 7 };
    const series = await interleaveFleets(systems, REPLICAS, plan, measure);
    const rows = series.map(({ fleet, samples }) => ({
      id: fleet.id,
      system: fleet.system,
      settledMs: median(samples.map(({ settledMs }) => settledMs)),
      longestMs: Math.max(...samples.map(({ settledMs }) => settledMs)),
      loads: samples.map(({ loads }) => loads),
      failures: sum(samples.map(({ failures }) => failures)),
    }));
    const ours = rows.find(({ id }) => id === OURS);
    return {
      title: 'Crash recovery',
      how:
        `${REPLICAS} processes, ${CALLERS} callers each, one cold key, a load of ${LOAD_MS} ms. The process that loads gets SIGKILL after ${KILL_AFTER_MS} ms. ` +
        `What is shown is the time from the kill to the last answer of the others, less one load, over ${plan.rounds} rounds. Locks last ${LEASE_MS / 1_000} s in every system. Loads are those begun after the kill.`,
      tables: [
        {
          title: '',
          columns: ['system', 'median (ms)', 'longest (ms)', 'loads after', 'failed calls', 'answers'],
          rows: rows.map((row) => [row.system.name, row.settledMs, row.longestMs, range(row.loads), row.failures, ageNote(row.system)]),
        },
      ],
      charts: [
        {
          id: 'crash-recovery',
          title: 'The leader is killed in mid-load: how long the others wait, less their own load',
          unit: 'ms, median; less is better',
          bars: rows.map(({ id, system, settledMs }) => ({ label: system.name, value: settledMs, isOurs: id === OURS })),
        },
      ],
      targets:
        ours === undefined
          ? []
          : [
              {
                what: 'leader killed in mid-load: the others settle, less the load',
                target: `<= ${TARGET_MS} ms`,
                measured: `${exact(ours.settledMs)} ms, longest ${exact(ours.longestMs)} ms`,
                met: ours.longestMs <= TARGET_MS,
              },
            ],
    };
  },
};

async function measure(fleet: Fleet, round: number): Promise<Sample> {
  const calls = new Map(
    fleet.replicas.map((replica) => {
      const request = {
        key: `crash-${round}`,
        callers: CALLERS,
        loadMs: LOAD_MS,
        payloadBytes: 100,
        at: monotonicMs() + 30,
        tellsLoad: true,
      };
      return [replica, replica.burst(request)] as const;
    }),
  );
  // The one that is killed replies to nothing any more.
  for (const call of calls.values()) call.catch(() => {});
  const leader = await Promise.race(
    fleet.replicas.map(
      (replica) => new Promise<(typeof fleet.replicas)[number]>((resolve) => (replica.onLoading = () => resolve(replica))),
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, KILL_AFTER_MS));
  const killedAt = monotonicMs();
  leader.kill();
  calls.delete(leader);
  const replies = await Promise.all(calls.values());
  await fleet.replace(leader);
  return {
    settledMs: Math.max(...replies.map(({ endedAt }) => endedAt)) - killedAt - LOAD_MS,
    loads: sum(replies.map(({ loads }) => loads)),
    failures: sum(replies.map(({ failures }) => failures)),
  };
}
