import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type {
  Ask,
  BurstReply,
  BurstRequest,
  Cost,
  Done,
  LoopReply,
  LoopRequest,
  SweepReply,
  SweepRequest,
  Tell,
} from './replica-protocol.js';
import type { SystemId } from './systems/index.js';

/** Longer than any wait of any system. */
const REPLY_MS_MAX = 60_000;
const CLOSE_MS_MAX = 2_000;

/** A reply, and what it cost the replica. */
export type Measured<R> = R & Cost;

interface Pending {
  readonly resolve: (result: { readonly done: Done; readonly cost: Cost }) => void;
  readonly reject: (error: Error) => void;
}

/** One replica as a process of its own. It never outlives this process. */
export class ReplicaProcess {
  readonly ready: Promise<void>;
  /** Called when a load begins, where the request wanted to know. */
  onLoading: () => void = () => {};
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  #number = 0;

  constructor(id: SystemId, url: string) {
    this.#child = fork(fileURLToPath(new URL('./replica.js', import.meta.url)), [id, url]);
    process.once('exit', this.kill);
    this.ready = new Promise((resolve, reject) => {
      this.#child.on('message', (tell: Tell) => (tell.what === 'ready' ? resolve() : this.#receive(tell)));
      this.#child.once('exit', (code, signal) => {
        process.off('exit', this.kill);
        const error = new Error(`a replica of ${id} ended with ${code ?? signal}`);
        reject(error);
        for (const pending of this.#pending.values()) pending.reject(error);
      });
    });
  }

  async burst(request: BurstRequest): Promise<Measured<BurstReply>> {
    const { done, cost } = await this.#ask({ command: 'burst', request });
    if (done.command !== 'burst') throw wrongReply(done);
    return { ...done.reply, ...cost };
  }

  async sweep(request: SweepRequest): Promise<Measured<SweepReply>> {
    const { done, cost } = await this.#ask({ command: 'sweep', request });
    if (done.command !== 'sweep') throw wrongReply(done);
    return { ...done.reply, ...cost };
  }

  async loop(request: LoopRequest): Promise<Measured<LoopReply>> {
    const { done, cost } = await this.#ask({ command: 'loop', request });
    if (done.command !== 'loop') throw wrongReply(done);
    return { ...done.reply, ...cost };
  }

  readonly kill = (): void => void this.#child.kill('SIGKILL');

  /** Closes its system and ends it; by force where it does not end. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    const insist = setTimeout(this.kill, CLOSE_MS_MAX);
    await this.#ask({ command: 'close' }).catch(() => {});
    if (this.#child.connected) this.#child.disconnect();
    await exited;
    clearTimeout(insist);
  }

  async #ask(ask: Ask): Promise<{ readonly done: Done; readonly cost: Cost }> {
    const number = (this.#number += 1);
    const timeout = new Error(`expected a reply to ${ask.command} within ${REPLY_MS_MAX} ms, got none`);
    const timer = setTimeout(() => this.#pending.get(number)?.reject(timeout), REPLY_MS_MAX);
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(number, { resolve, reject });
        this.#child.send({ number, ask });
      });
    } finally {
      clearTimeout(timer);
      this.#pending.delete(number);
    }
  }

  #receive(tell: Exclude<Tell, { what: 'ready' }>): void {
    if (tell.what === 'loading') this.onLoading();
    else if (tell.what === 'done') this.#pending.get(tell.number)?.resolve(tell);
    else this.#pending.get(tell.number)?.reject(new Error(tell.message));
  }
}

function wrongReply({ command }: Done): Error {
  return new Error(`expected the reply to another command, got that to ${command}`);
}
