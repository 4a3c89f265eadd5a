import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from './free-port.js';
import { waitFor } from './wait-for.js';

/** One series of an instant query's answer. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface PrometheusServer {
  /** @throws Error with what Prometheus said about the expression. */
  query(expr: string): Promise<Sample[]>;
  stop(): Promise<void>;
}

/** Paths of the two programs, or why there are none. */
export function findPrometheus(): { readonly prometheus: string; readonly promtool: string } | { readonly missing: string } {
  const prometheus = process.env['PROMETHEUS'] || onPath('prometheus');
  const promtool = process.env['PROMTOOL'] || onPath('promtool');
  if (prometheus === undefined || promtool === undefined) return { missing: 'prometheus and promtool are not on the PATH' };
  return { prometheus, promtool };
}

/** Starts a Prometheus of the test's own that scrapes these ports of 127.0.0.1 twice a second. */
export async function startPrometheus(binary: string, targets: readonly number[]): Promise<PrometheusServer> {
  const folder = await mkdtemp(join(tmpdir(), 'oneflight-prometheus-'));
  const port = await freePort();
  const config = {
    global: { scrape_interval: '500ms', scrape_timeout: '500ms' },
    scrape_configs: [{ job_name: 'shop', static_configs: [{ targets: targets.map((target) => `127.0.0.1:${target}`) }] }],
  };
  // JSON is YAML.
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config));
  const child = spawn(
    binary,
    [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-4_000)));
  const url = `http://127.0.0.1:${port}`;
  try {
    await waitFor(async () => (await fetch(`${url}/-/ready`)).ok, { timeoutMs: 20_000, everyMs: 50, what: 'Prometheus to be ready' });
  } catch (error) {
    await end(child);
    throw new Error(`Prometheus did not start: ${log}`, { cause: error });
  }
  return {
    query: (expr) => ask(url, expr),
    async stop() {
      await end(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Runs promtool; resolves with its exit code and what it printed. */
export async function runPromtool(binary: string, args: readonly string[], input = ''): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(binary, [...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
    child.stdin?.end(input);
  });
}

async function ask(url: string, expr: string): Promise<Sample[]> {
  const response = await fetch(`${url}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query: expr }) });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what Prometheus documents; anything else fails the test
  const answer = (await response.json()) as {
    status: string;
    error?: string;
    data?: { result: { metric: Record<string, string>; value: [number, string] }[] };
  };
  if (answer.status !== 'success' || answer.data === undefined) throw new Error(`${expr}: ${answer.error}`);
  return answer.data.result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value.replace('Inf', 'Infinity')) }));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

function onPath(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
