import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';

const LOG_CHARS_MAX = 8_000;
const STOP_MS_MAX = 5_000;

/** A server process that ends with this process at the latest. */
export interface ChildServer {
  readonly pid: number | undefined;
  readonly running: boolean;
  /** Null while it runs, and where a signal ended it. */
  readonly exitCode: number | null;
  /** The last lines it printed, for error messages. */
  readonly log: string;
  send(signal: NodeJS.Signals): void;
  /** Sends `signal` and resolves when the process is gone, at the latest a while later by SIGKILL. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** Starts a program that is to run until it is ended. A program that cannot be started shows as not running. */
export function spawnServer(
  command: string,
  args: readonly string[],
  options: Pick<SpawnOptions, 'cwd' | 'env' | 'uid' | 'gid'> = {},
): ChildServer {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  let running = true;
  const keep = (text: string): void => void (log = (log + text).slice(-LOG_CHARS_MAX));
  const endWithUs = (): void => void child.kill('SIGKILL');
  const ended = (): void => {
    running = false;
    process.off('exit', endWithUs);
  };
  child.stdout?.setEncoding('utf8').on('data', keep);
  child.stderr?.setEncoding('utf8').on('data', keep);
  child.once('exit', ended);
  child.once('error', (error) => {
    keep(error.message);
    ended();
  });
  process.on('exit', endWithUs);
  return {
    pid: child.pid,
    get running() {
      return running;
    },
    get exitCode() {
      return child.exitCode;
    },
    get log() {
      return log;
    },
    send: (signal) => void child.kill(signal),
    end: (signal) => end(child, signal),
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  // A stopped (SIGSTOP) process sees no signal but this one.
  const insist = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await exited;
  clearTimeout(insist);
}
