import { setTimeout as sleep } from 'node:timers/promises';
import { type TopOptions, withoutPassword } from './arguments.js';
import { connect, type Connection } from './connect.js';
import { listeners, lookAt } from './look.js';
import { type Looks, type Report, reportOf } from './report.js';
import { screenOf } from './screen.js';

/** Where the output goes; a terminal is redrawn, anything else gets one look after the other. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly rows?: number;
}

/**
 * Looks again and again until the signal, or once.
 *
 * @throws Error when Redis cannot be reached at the start, or with `once` at all
 */
export async function top(options: TopOptions, output: Output, signal: AbortSignal): Promise<void> {
  const connection = await connect(options.url);
  try {
    await lookOn(connection, options, output, signal);
  } finally {
    connection.disconnect();
  }
}

async function lookOn(connection: Connection, options: TopOptions, output: Output, signal: AbortSignal): Promise<void> {
  let before: Looks | undefined;
  while (!signal.aborted) {
    try {
      const looks = await look(connection, options.prefix);
      const isLast = options.once && before !== undefined;
      if (!options.once || isLast) show(reportOf(options.prefix, looks, before), options, output);
      if (isLast) return;
      before = looks;
    } catch (error) {
      if (options.once) throw error;
      output.write(`${clear(output)}no answer from ${withoutPassword(options.url)}: ${reasonOf(error)}; trying again\n`);
    }
    await sleep(options.intervalMs, undefined, { signal }).catch(() => {});
  }
}

async function look({ masters, nodes }: Connection, prefix: string): Promise<Looks> {
  const looks = await Promise.all(masters().map((server) => lookAt(server, prefix)));
  const leaders = new Set(looks.flatMap(({ flights }) => flights.flatMap(({ leader }) => leader ?? [])));
  const present = new Set<string>();
  for (const heard of await Promise.all(nodes().map((server) => listeners(server, [...leaders])))) {
    for (const [inbox, count] of heard) if (count > 0) present.add(inbox);
  }
  return { looks, present };
}

function show(report: Report, { json, url }: TopOptions, output: Output): void {
  if (json) output.write(`${JSON.stringify(report)}\n`);
  else output.write(`${clear(output)}${screenOf(report, withoutPassword(url), rowsOf(output))}\n${output.isTTY ? '' : '\n'}`);
}

/** Half of the screen for flights, the rest for what stands around them. */
function rowsOf({ isTTY, rows }: Output): number {
  return isTTY && rows !== undefined ? Math.max(3, Math.floor(rows / 2) - 5) : 50;
}

function clear({ isTTY }: Output): string {
  return isTTY ? '\u001B[H\u001B[2J' : '';
}

/** What the server or the system said. ioredis' messages name addresses, never credentials. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ('code' in error ? String(error.code) : error.name);
}
