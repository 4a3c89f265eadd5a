import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { root } from './project.mjs';

const LIMIT_MS = 20 * 60_000;
const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const isWindows = process.platform === 'win32';

/**
 * Runs a command to its end and resolves with its exit code. The command leads a process group of its own, so that a
 * signal reaches it exactly once (from here, not from the terminal too) and nothing that it started outlives it.
 *
 * `log.stream` decides where its output goes; `limitMs` ends a command that hangs; `onSignal` is told of a signal.
 */
export async function run(command, args, { cwd = root, env = {}, log, limitMs = LIMIT_MS } = {}) {
  const output = log?.stream.fd ?? 'inherit';
  const child = spawn(command, args, {
    cwd,
    env: { ...nestedEnv(), ...env },
    stdio: ['ignore', output, 'inherit'],
    detached: !isWindows,
    shell: isWindows,
  });
  const forward = (signal) => signalGroup(child, signal, false);
  for (const signal of forwarded) process.on(signal, forward);
  const timer = limitMs === Infinity ? undefined : setTimeout(() => stopHanging(child, command, args, limitMs), limitMs);
  try {
    const [code, signal] = await once(child, 'close');
    return code ?? (signal === 'SIGINT' ? 130 : 143);
  } catch (error) {
    throw new Error(`cannot start ${command}: ${error.message}`, { cause: error });
  } finally {
    clearTimeout(timer);
    for (const signal of forwarded) process.off(signal, forward);
    signalGroup(child, 'SIGKILL', true);
  }
}

/** Runs a command silently; resolves with its exit code and what it printed. A command that is not there has code 127. */
export async function capture(command, args, { cwd = root, env = {}, limitMs = 30_000 } = {}) {
  const child = spawn(command, args, {
    cwd,
    env: { ...nestedEnv(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  try {
    const [code] = await once(child, 'close');
    return { code: code ?? 1, stdout, stderr };
  } catch (error) {
    return { code: 127, stdout, stderr: error.message };
  }
}

// A package manager started from an npm script would take that script's project for its own.
function nestedEnv() {
  const own = /^npm_(lifecycle_|package_|command$|execpath$|node_execpath$|config_(local_prefix|global_prefix|prefix)$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
}

function stopHanging(child, command, args, limitMs) {
  process.stderr.write(`\n${[command, ...args].join(' ')} did not end within ${limitMs / 60_000} minutes: ending it\n`);
  signalGroup(child, 'SIGKILL', true);
}

function signalGroup(child, signal, wholeGroup) {
  if (child.pid === undefined) return;
  try {
    if (wholeGroup && !isWindows) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
