import type { ChildProcess } from 'node:child_process';

/** The next message of a child; rejects where it ends instead. Only a child whose messages are known is asked. */
export function told<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a process that measures ended with ${code}`));
    child.once('exit', onExit);
    child.once('message', (message: T) => {
      child.off('exit', onExit);
      resolve(message);
    });
  });
}
