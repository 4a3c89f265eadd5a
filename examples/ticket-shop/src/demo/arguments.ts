import { parseArgs } from 'node:util';

import { BLOCKS_PER_MATCH, MATCHES } from '../server/schema.js';

export interface DemoOptions {
  readonly once: boolean;
  readonly json: boolean;
  readonly replicas: number;
  readonly requests: number;
  readonly keys: number;
  /** Absent: long enough for the whole burst to arrive while the query runs. */
  readonly busyMs: number | undefined;
  /** Of the live page; 0 picks a free one. */
  readonly port: number;
  /** Address that the live page listens at. */
  readonly host: string;
}

export type ParsedArguments =
  | { readonly kind: 'run'; readonly options: DemoOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly message: string };

export const HELP = `Usage: npm run demo -- [options]

Fires a burst of simultaneous requests at a ticket shop of several replicas, without
and with collapsing, prints both side by side, then serves a live page until Ctrl-C.

  --once          exit after the burst; the exit code is 1 if a request failed
  --json          print one JSON object on the last line; progress goes to stderr
  --replicas <n>  replica processes, 1 to 32 (default 4)
  --requests <n>  simultaneous requests, 1 to 10000 (default 1000)
  --keys <n>      blocks of seats that they ask for, 1 to ${MATCHES * BLOCKS_PER_MATCH} (default 1)
  --busy-ms <n>   time that each seat query takes, 0 to 10000; stands for a busy database
                  (default: 1.25 times what this machine needs to deliver the burst, at least 150)
  --port <n>      port of the live page (default: a free one)
  --host <addr>   address that it listens at (default 127.0.0.1); 0.0.0.0 is for a container whose
                  port is published on this machine only. It answers under no name but localhost
  --help          print this

REDIS_URL and DATABASE_URL use servers that run already; without them the demo starts its own.`;

/** Reads the command line; never throws. */
export function parseArguments(argv: readonly string[]): ParsedArguments {
  try {
    const { values } = parseArgs({ args: [...argv], options: OPTIONS, strict: true, allowPositionals: false });
    if (values.help) return { kind: 'help' };
    const requests = wholeNumber('requests', values.requests, 1, 10_000);
    const options = {
      once: values.once,
      json: values.json,
      replicas: wholeNumber('replicas', values.replicas, 1, 32),
      requests,
      keys: wholeNumber('keys', values.keys, 1, MATCHES * BLOCKS_PER_MATCH),
      busyMs: values['busy-ms'] === undefined ? undefined : wholeNumber('busy-ms', values['busy-ms'], 0, 10_000),
      host: values.host,
      port: wholeNumber('port', values.port, 0, 65_535),
    };
    if (options.keys > requests) throw new Error(`--keys ${options.keys}: expected at most as many as --requests, which is ${requests}`);
    return { kind: 'run', options };
  } catch (error) {
    return { kind: 'wrong', message: error instanceof Error ? error.message : String(error) };
  }
}

const OPTIONS = {
  once: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  replicas: { type: 'string', default: '4' },
  requests: { type: 'string', default: '1000' },
  keys: { type: 'string', default: '1' },
  'busy-ms': { type: 'string' },
  port: { type: 'string', default: '0' },
  host: { type: 'string', default: '127.0.0.1' },
  help: { type: 'boolean', default: false },
} as const;

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new Error(`--${name} ${text}: expected a whole number from ${min} to ${max}`);
}
