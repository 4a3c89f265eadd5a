import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import type { Teardown } from './teardown.js';

/** A Node process of the demo that obeys messages and ends when this process does, however that happens. */
export interface Child {
  readonly pid: number | undefined;
  isRunning(): boolean;
  send(message: Message): void;
  /**
   * The next message of this kind.
   * @throws Error when the child ends, or says `{ kind: 'failed', message }`, before it
   */
  next(kind: string): Promise<Message>;
  onMessage(listener: (message: Message) => void): void;
  onExit(listener: () => void): void;
  kill(): void;
  /** Asks it to end, and insists after `patienceMs`. */
  stop(patienceMs?: number): Promise<void>;
}

export interface Message {
  readonly kind: string;
  readonly [field: string]: unknown;
}

/** Starts `module`, a URL of a built file. What it prints goes to this process's stderr. */
export function startChild(name: string, module: URL, env: Readonly<Record<string, string>>, teardown: Teardown): Child {
  const child = fork(fileURLToPath(module), [], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 2, 2, 'ipc'],
    detached: true, // out of the terminal's group: Ctrl-C reaches the demo, which ends its children in order
  });
  child.on('error', (error) => console.error(`${name}: ${error.message}`));
  const handle: Child = {
    pid: child.pid,
    isRunning: () => isRunning(child),
    send: (message) => void (child.connected && child.send(message)),
    next: (kind) => nextMessage(name, child, kind),
    onMessage: (listener) => void child.on('message', (message) => isMessage(message) && listener(message)),
    onExit: (listener) => void child.once('exit', listener),
    kill: () => void child.kill('SIGKILL'),
    stop: (patienceMs) => stop(child, patienceMs),
  };
  teardown.defer(name, () => handle.stop());
  return handle;
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

export function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && 'kind' in value && typeof value.kind === 'string';
}

function nextMessage(name: string, child: ChildProcess, kind: string): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown) => {
      if (!isMessage(message)) return;
      if (message.kind === kind) settle(() => resolve(message));
      if (message.kind === 'failed') settle(() => reject(new Error(String(message['message']))));
    };
    const onExit = () => settle(() => reject(new Error(`${name} ended unexpectedly; what it said is above`)));
    const settle = (then: () => void) => {
      child.off('message', onMessage).off('exit', onExit);
      then();
    };
    child.on('message', onMessage).once('exit', onExit);
    if (!isRunning(child)) onExit();
  });
}

async function stop(child: ChildProcess, patienceMs = 12_000): Promise<void> {
  if (!isRunning(child)) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const insist = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await exited;
  clearTimeout(insist);
}
