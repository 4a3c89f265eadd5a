import { parseArgs } from 'node:util';
import { DEFAULTS } from '../options.js';
import { nearest } from './nearest.js';

export interface TopOptions {
  /** May hold a password: print only what {@link withoutPassword} makes of it. */
  readonly url: string;
  readonly prefix: string;
  readonly intervalMs: number;
  readonly once: boolean;
  readonly json: boolean;
}

export type ParsedArguments =
  | { readonly kind: 'top'; readonly options: TopOptions }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly message: string };

export const HELP = `Usage: oneflight top [options]

Shows the flights that are in progress on all replicas, as Redis knows them. It only
reads: SCAN in small steps, GET, HMGET, HKEYS, PTTL, TIME, INFO, PUBSUB NUMSUB.

  --url <url>       Redis, or one node of a Cluster (default: REDIS_URL, else
                    redis://127.0.0.1:6379). redis://user:password@host:port/db; rediss:// for TLS
  --prefix <text>   the coordinator's prefix (default: ${DEFAULTS.prefix})
  --interval <ms>   time between two looks, 100 to 60000 (default: 1000)
  --once            look twice, one interval apart, print once, and end
  --json            one JSON object per look, on a line of its own
  --help            print this

A password in --url is seen by who may list processes; one in REDIS_URL is not.`;

/** Reads the command line; never throws, and never repeats a URL. */
export function parseArguments(argv: readonly string[], env: NodeJS.ProcessEnv): ParsedArguments {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options: OPTIONS, strict: true, allowPositionals: true });
    if (values.help || (argv.length === 0 && positionals.length === 0)) return { kind: 'help' };
    const [command, surplus] = positionals;
    if (command !== 'top') return wrong(unknown('command', command ?? 'nothing', ['top']));
    if (surplus !== undefined) return wrong(`unexpected '${plainly(surplus)}': a value needs its option before it, such as --url`);
    return readOptions(values, env);
  } catch (error) {
    return wrong(explain(error, argv));
  }
}

/** The same URL without what is secret in it. */
export function withoutPassword(url: string): string {
  if (!URL.canParse(url)) return 'the URL';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
}

const OPTIONS = {
  url: { type: 'string' },
  prefix: { type: 'string', default: DEFAULTS.prefix },
  interval: { type: 'string', default: '1000' },
  once: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

interface Values {
  readonly url?: string;
  readonly prefix: string;
  readonly interval: string;
  readonly once: boolean;
  readonly json: boolean;
}

function readOptions({ url = '', prefix, interval, once, json }: Values, env: NodeJS.ProcessEnv): ParsedArguments {
  const address = url || env['REDIS_URL'] || 'redis://127.0.0.1:6379';
  const where = url === '' ? 'REDIS_URL' : '--url';
  if (!/^rediss?:\/\//.test(address) || !URL.canParse(address)) return wrong(`${where}: expected redis://host:port or rediss://host:port`);
  if (!/^[\w.:@-]{1,64}$/.test(prefix)) return wrong(`--prefix ${plainly(prefix)}: expected 1 to 64 letters, digits, and _ - . : @`);
  const intervalMs = /^\d+$/.test(interval) ? Number(interval) : Number.NaN;
  if (!(intervalMs >= 100 && intervalMs <= 60_000))
    return wrong(`--interval ${plainly(interval)}: expected a whole number of milliseconds from 100 to 60000`);
  return { kind: 'top', options: { url: address, prefix, intervalMs, once, json } };
}

/** What was typed, unless it may be a URL that has slipped into the wrong place, with its password. */
function plainly(typed: string): string {
  return /:\/\/|@/.test(typed) ? 'URL' : typed;
}

function wrong(message: string): ParsedArguments {
  return { kind: 'wrong', message };
}

/** parseArgs names the option, and also what stands behind `=`, which may be a URL. */
function explain(error: unknown, argv: readonly string[]): string {
  const known = Object.keys(OPTIONS).map((name) => `--${name}`);
  const given = argv.map((argument) => argument.split('=', 1)[0] ?? '').filter((argument) => argument.startsWith('-'));
  const stranger = given.find((argument) => !known.includes(argument) && argument !== '-h');
  if (stranger !== undefined) return unknown('option', stranger, known);
  const message = error instanceof Error ? error.message : String(error);
  const option = known.find((name) => message.includes(name));
  return option === undefined
    ? 'the options could not be read'
    : `${option}: ${takesValue(option) ? 'expected a value after it' : 'takes no value'}`;
}

function takesValue(option: string): boolean {
  return Object.entries(OPTIONS).some(([name, { type }]) => `--${name}` === option && type === 'string');
}

function unknown(what: string, given: string, known: readonly string[]): string {
  const meant = nearest(given, known);
  return `unknown ${what} '${plainly(given)}': ${meant === undefined ? `expected ${known.join(', ')}` : `did you mean '${meant}'?`}`;
}
