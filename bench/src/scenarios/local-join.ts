import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { interleave } from '../interleave.js';
import type { MemorySample, TimeSample } from '../local/measure.js';
import { subjects, type Subject } from '../local/subjects.js';
import { median } from '../statistics.js';
import { told } from '../told.js';
import { compared, exact } from '../report/words.js';
import type { Scenario } from './scenario.js';

/** One thread collects garbage, or the other threads of a busy machine decide how long it takes. */
const NODE_FLAGS = ['--expose-gc', '--single-threaded-gc'];

interface Row extends TimeSample, MemorySample, Pick<Subject, 'name' | 'setup' | 'role'> {}

export const localJoin: Scenario = {
  what: 'joining a load in the same process, without Redis: time and memory',
  async run({ quick }) {
    const rounds = quick ? 6 : 24;
    const results = await measureAll(rounds);
    const total = ({ joinNs, answerNs }: Row): number => joinNs + answerNs;
    const bare = results.find(({ role }) => role === 'floor');
    const ours = results.find(({ role }) => role === 'ours');
    if (bare === undefined || ours === undefined) throw new Error('expected the bare Map and oneflight among the results');
    return {
      title: 'Local join',
      how:
        `One process for each system, no Redis. 20,000 callers join one load; join is the call itself, answer is from the end of the load until all were answered, both per caller. ` +
        `Times are CPU time of the process, garbage collection included. Alone is a call whose load ends at once and which nobody joins. Medians of ${rounds} interleaved rounds; memory after forced garbage collections, in rounds of its own.`,
      tables: [
        {
          title: '',
          columns: [
            'system',
            'join (ns)',
            'answer (ns)',
            'both / bare Map',
            'alone (ns)',
            'bytes per waiter',
            'bytes per load in progress',
            'setting',
          ],
          rows: results.map((row) => [
            row.name,
            Math.round(row.joinNs),
            Math.round(row.answerNs),
            compared(total(row), total(bare)),
            Math.round(row.flightNs),
            Math.round(row.bytesPerWaiter),
            Math.round(row.bytesPerFlight),
            row.setup,
          ]),
        },
      ],
      charts: [
        {
          id: 'local-join',
          title: 'Joining a load in the same process, and its answer',
          unit: 'ns per caller, median; less is better',
          bars: results.map((row) => ({ label: row.name, value: total(row), isOurs: row.role === 'ours' })),
        },
      ],
      targets: [
        {
          what: 'local join: join and answer, against a bare Map',
          target: '<= 1.2x',
          measured: compared(total(ours), total(bare)),
          met: total(ours) <= 1.2 * total(bare),
        },
        {
          what: 'memory: per extra waiter without options',
          target: '<= 100 bytes',
          measured: `${exact(Math.round(ours.bytesPerWaiter))} bytes`,
          met: ours.bytesPerWaiter <= 100,
        },
        {
          what: 'memory: per flight in progress',
          target: '<= 1 KiB',
          measured: `${exact(Math.round(ours.bytesPerFlight))} bytes`,
          met: ours.bytesPerFlight <= 1_024,
        },
      ],
    };
  },
};

/** Each subject in a process of its own, measured in turn. */
async function measureAll(rounds: number): Promise<Row[]> {
  const children: ChildProcess[] = [];
  const killAll = (): void => children.forEach((child) => void child.kill('SIGKILL'));
  process.once('exit', killAll);
  try {
    const all = subjects();
    for (const index of all.keys()) {
      const child = fork(fileURLToPath(new URL('../local/measure.js', import.meta.url)), [String(index)], { execArgv: NODE_FLAGS });
      children.push(child);
      await told(child);
    }
    const ask = <S>(what: 'times' | 'memory') => {
      return async (child: ChildProcess): Promise<S> => {
        const sample = told<S>(child);
        child.send(what);
        return sample;
      };
    };
    const times = await interleave(children, { warmUp: 10, rounds }, ask<TimeSample>('times'));
    const memory = await interleave(children, { warmUp: 1, rounds: Math.ceil(rounds / 3) }, ask<MemorySample>('memory'));
    return all.map(({ name, setup, role }, index) => {
      const time = (of: (sample: TimeSample) => number): number => median((times[index] ?? []).map(of));
      const bytes = (of: (sample: MemorySample) => number): number => median((memory[index] ?? []).map(of));
      return {
        name,
        setup,
        role,
        joinNs: time(({ joinNs }) => joinNs),
        answerNs: time(({ answerNs }) => answerNs),
        flightNs: time(({ flightNs }) => flightNs),
        bytesPerWaiter: bytes(({ bytesPerWaiter }) => bytesPerWaiter),
        bytesPerFlight: bytes(({ bytesPerFlight }) => bytesPerFlight),
      };
    });
  } finally {
    process.off('exit', killAll);
    killAll();
  }
}
