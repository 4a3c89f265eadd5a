import { COLLAPSE_MODES, type CollapseMode, isCollapseMode } from './collapsing.js';

/** What one replica is told by its environment. */
export interface ServerConfig {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  /** Where `/metrics` is served, apart from the shop. Absent: nowhere. */
  readonly metricsPort: number | undefined;
  readonly databaseUrl: string;
  /** Absent: requests collapse inside this process only. */
  readonly redisUrl: string | undefined;
  readonly collapse: CollapseMode;
  readonly poolSize: number;
  /** Extra time that each seat query takes inside PostgreSQL, in milliseconds; it stands for a busy database. */
  readonly busyMs: number;
}

/**
 * Reads the configuration of one replica.
 * @throws Error when a variable is missing or makes no sense; the message names the variable
 */
export function readConfig(env: NodeJS.ProcessEnv): ServerConfig {
  const databaseUrl = env['DATABASE_URL'];
  if (databaseUrl === undefined || databaseUrl === '') throw new Error('DATABASE_URL: expected a PostgreSQL URL, got nothing');
  const redisUrl = env['REDIS_URL'] === '' ? undefined : env['REDIS_URL'];
  const collapse = env['COLLAPSE'] ?? (redisUrl === undefined ? 'process' : 'cluster');
  if (!isCollapseMode(collapse)) throw new Error(`COLLAPSE: expected one of ${COLLAPSE_MODES.join(', ')}, got ${collapse}`);
  if (collapse === 'cluster' && redisUrl === undefined) throw new Error('COLLAPSE=cluster: expected REDIS_URL as well, got nothing');
  return {
    host: env['HOST'] ?? '127.0.0.1',
    port: wholeNumber(env, 'PORT', 3000, 0, 65_535),
    metricsPort: env['METRICS_PORT'] ? wholeNumber(env, 'METRICS_PORT', 0, 0, 65_535) : undefined,
    databaseUrl,
    redisUrl,
    collapse,
    poolSize: wholeNumber(env, 'POOL_SIZE', 10, 1, 1_000),
    busyMs: wholeNumber(env, 'BUSY_MS', 0, 0, 60_000),
  };
}

function wholeNumber(env: NodeJS.ProcessEnv, name: string, byDefault: number, min: number, max: number): number {
  const text = env[name];
  if (text === undefined || text === '') return byDefault;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new Error(`${name}: expected a whole number from ${min} to ${max}, got ${text}`);
}
