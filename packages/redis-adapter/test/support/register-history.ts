import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { RegisterOperation } from '@oneflight/testkit';

/** How the processes go about it. Each client does its operations one after the other; a quarter of them are writes. */
export interface RegisterPlan {
  readonly key: string;
  readonly freshness: 'join' | 'confirmed' | 'strict';
  /** Whether a write ends with `await invalidate(key)`. */
  readonly invalidates: boolean;
  readonly clients: number;
  readonly operations: number;
  readonly loadMs: number;
}

/** Several processes on one register: all that they do to it, as they saw it. */
export class RegisterProcesses {
  readonly #children: readonly ChildProcess[];

  constructor(count: number, config: { readonly url: string; readonly registerUrl: string }) {
    const script = fileURLToPath(new URL('./register-process.mjs', import.meta.url));
    this.#children = Array.from({ length: count }, () =>
      fork(script, [JSON.stringify(config)], {
        execArgv: ['--unhandled-rejections=strict'],
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
  }

  async ready(): Promise<void> {
    await Promise.all(this.#children.map((child) => once(child, 'message')));
  }

  async history(plan: RegisterPlan): Promise<readonly RegisterOperation[]> {
    const reports = this.#children.map(async (child): Promise<readonly RegisterOperation[]> => {
      const [report] = await once(child, 'message');
      return report;
    });
    for (const child of this.#children) child.send(plan);
    return (await Promise.all(reports)).flat();
  }

  async close(): Promise<void> {
    const running = this.#children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    const gone = running.map((child) => once(child, 'exit'));
    for (const child of this.#children) if (child.connected) child.send('close');
    await Promise.all(gone);
  }
}
