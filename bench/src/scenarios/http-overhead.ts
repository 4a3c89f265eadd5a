import { fork, type ChildProcess } from 'node:child_process';
import { Agent, get } from 'node:http';
import { fileURLToPath } from 'node:url';
import { APPS } from '../http/apps.js';
import { interleave } from '../interleave.js';
import { compared } from '../report/words.js';
import { median } from '../statistics.js';
import { told } from '../told.js';
import type { Scenario } from './scenario.js';

const CONNECTIONS = 8;

interface Sample {
  readonly perRequestUs: number;
  readonly cpuUs: number;
}

export const httpOverhead: Scenario = {
  what: 'the middleware on a route that never collapses, against plain Express',
  async run({ quick }) {
    const plan = quick ? { warmUp: 2, rounds: 5 } : { warmUp: 3, rounds: 25 };
    const requests = quick ? 800 : 1_600;
    const child = fork(fileURLToPath(new URL('../http/server.js', import.meta.url)));
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
    try {
      const { ports } = await told<{ readonly ports: readonly number[] }>(child);
      const samples = await interleave(ports, plan, (port) => measure(child, agent, port, requests));
      const rows = Object.keys(APPS).map((name, index) => ({
        name,
        perRequestUs: median((samples[index] ?? []).map(({ perRequestUs }) => perRequestUs)),
        cpuUs: median((samples[index] ?? []).map(({ cpuUs }) => cpuUs)),
      }));
      const [plain] = rows;
      return {
        title: 'HTTP overhead',
        how: `One process with Express, the middleware and no coordinator; requests over ${CONNECTIONS} kept connections. Time is per request as the client sees it, CPU that of the server. Medians of ${plan.rounds} interleaved rounds of ${requests.toLocaleString('en-US')} requests.`,
        tables: [
          {
            title: '',
            columns: ['route', 'time (µs)', '/ plain', 'CPU (µs)', '/ plain'],
            rows: rows.map((row) => [
              row.name,
              Math.round(row.perRequestUs),
              plain && compared(row.perRequestUs, plain.perRequestUs),
              Math.round(row.cpuUs),
              plain && compared(row.cpuUs, plain.cpuUs),
            ]),
          },
        ],
        charts: [
          {
            id: 'http-overhead',
            title: 'CPU per request of a route that never collapses',
            unit: 'µs, median; less is better',
            bars: rows.map(({ name, cpuUs }, index) => ({ label: name, value: cpuUs, isOurs: index > 0 })),
          },
        ],
        targets: [],
      };
    } finally {
      agent.destroy();
      process.off('exit', kill);
      kill();
    }
  },
};

async function measure(child: ChildProcess, agent: Agent, port: number, requests: number): Promise<Sample> {
  const cpuBefore = await cpuMs(child);
  const startedAt = performance.now();
  let left = requests;
  const connection = async (): Promise<void> => {
    while ((left -= 1) >= 0) await requestOnce(agent, port);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  const tookMs = performance.now() - startedAt;
  return { perRequestUs: (tookMs * 1_000) / requests, cpuUs: (((await cpuMs(child)) - cpuBefore) * 1_000) / requests };
}

function requestOnce(agent: Agent, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, agent, path: '/', headers: { cookie: 'session=1', accept: '*/*' } }, (response) => {
      response.resume().on('end', resolve);
    }).on('error', reject);
  });
}

async function cpuMs(child: ChildProcess): Promise<number> {
  const answer = told<{ readonly cpuMs: number }>(child);
  child.send('cpu');
  return (await answer).cpuMs;
}
