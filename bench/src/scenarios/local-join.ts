import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LocalResult } from '../local/measure.js';
import { compared, exact } from '../report/words.js';
import type { Scenario } from './scenario.js';

export const localJoin: Scenario = {
  what: 'joining a load in the same process, without Redis: time and memory',
  async run({ quick }) {
    const rounds = quick ? 10 : 60;
    const results = await inProcessOfItsOwn(rounds);
    const total = ({ joinNs, answerNs }: LocalResult): number => joinNs + answerNs;
    const bare = results.find(({ role }) => role === 'floor');
    const ours = results.find(({ role }) => role === 'ours');
    if (bare === undefined || ours === undefined) throw new Error('expected the bare Map and oneflight among the results');
    return {
      title: 'Local join',
      how:
        `One process, no Redis. 20,000 callers join one load; join is the call itself, answer is from the end of the load until all were answered, both per caller. ` +
        `Alone is a call whose load ends at once and which nobody joins. Medians of ${rounds} interleaved rounds; memory after forced garbage collections.`,
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

function inProcessOfItsOwn(rounds: number): Promise<readonly LocalResult[]> {
  const child = fork(fileURLToPath(new URL('../local/measure.js', import.meta.url)), [String(rounds)], { execArgv: ['--expose-gc'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  return new Promise((resolve, reject) => {
    child.once('message', (results: readonly LocalResult[]) => resolve(results));
    child.once('exit', (code, signal) => {
      process.off('exit', kill);
      reject(new Error(`the process that measures ended with ${code ?? signal} before it told its result`));
    });
  });
}
