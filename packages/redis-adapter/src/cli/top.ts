import { setTimeout as sleep } from 'node:timers/promises';
import { type TopOptions, withoutPassword } from './arguments.js';
import { connect, type Connection } from './connect.js';
import { listeners, lookAt } from './look.js';
import { type Looks, type Report, reportOf } from './report.js';
import { screenOf } from './screen.js';
import type { Draw, Output, Terminal } from './terminal.js';

/**
 * Looks again and again until the signal, or once. On a terminal one look is drawn over the other.
 *
 * @throws Error when Redis cannot be reached at the start, or with `once` at all
 */
export async function top(options: TopOptions, output: Output, signal: AbortSignal, terminal?: Terminal): Promise<void> {
  let connection: Connection | undefined;
  try {
    connection = await connect(options.url, signal);
    signal.addEventListener('abort', () => connection?.disconnect(), { once: true }); // a server that is silent holds nobody up
    await lookOn(connection, options, output, signal, terminal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    connection?.disconnect();
    terminal?.close();
  }
}

async function lookOn(
  connection: Connection,
  options: TopOptions,
  output: Output,
  signal: AbortSignal,
  terminal: Terminal | undefined,
): Promise<void> {
  let before: Looks | undefined;
  while (!signal.aborted) {
    try {
      const looks = await look(connection, options.prefix);
      const isLast = options.once && before !== undefined;
      if (!options.once || isLast) show(reportOf(options.prefix, looks, before), options, output, terminal);
      if (isLast) return;
      before = looks;
    } catch (error) {
      if (options.once || signal.aborted) throw error;
      say(`no answer from ${withoutPassword(options.url)}: ${reasonOf(error)}; trying again`, output, terminal);
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

function show(report: Report, { json, once, url }: TopOptions, output: Output, terminal: Terminal | undefined): void {
  const draw: Draw = ({ rows }) => screenOf(report, withoutPassword(url), rows);
  if (json) output.write(`${JSON.stringify(report)}\n`);
  else if (terminal !== undefined) terminal.draw(draw);
  else output.write(`${draw(UNLIMITED).join('\n')}\n${once ? '' : '\n'}`);
}

function say(text: string, output: Output, terminal: Terminal | undefined): void {
  if (terminal === undefined) output.write(`${text}\n`);
  else terminal.draw(() => [text]);
}

const UNLIMITED = { rows: Number.POSITIVE_INFINITY, columns: Number.POSITIVE_INFINITY };

/** What the server or the system said. ioredis' messages name addresses, never credentials. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ('code' in error ? String(error.code) : error.name);
}
