/** What each node answered; undefined where it failed or was not waited for. */
export type Answers<T> = readonly (T | undefined)[];

/**
 * Waits for all, but once a majority has answered not for long.
 *
 * @throws what the first node failed with, once a majority cannot answer any more.
 */
export function gather<T>(operations: readonly Promise<T>[], graceMs = GRACE_MS): Promise<Answers<T>> {
  const majority = Math.floor(operations.length / 2) + 1;
  const answers: (T | undefined)[] = operations.map(() => undefined);
  let [answered, failed] = [0, 0];
  let grace: NodeJS.Timeout | undefined;
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (answered + failed < operations.length) {
        if (answered >= majority) grace ??= setTimeout(() => resolve([...answers]), graceMs);
        return;
      }
      clearTimeout(grace);
      if (answered >= majority) resolve(answers);
    };
    operations.forEach((operation, at) => {
      operation.then(
        (answer) => {
          answers[at] = answer;
          answered += 1;
          look();
        },
        (error: unknown) => {
          failed += 1;
          if (failed > operations.length - majority) reject(error instanceof Error ? error : new Error(String(error)));
          else look();
        },
      );
    });
  });
}

const GRACE_MS = 10;
