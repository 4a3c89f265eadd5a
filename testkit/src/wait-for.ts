import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks until the answer is truthy, and resolves with it. Rejects after `timeoutMs` with what was waited for; a predicate
 * that throws counts as "not yet", and its last error becomes the cause. `what` ends the sentence "waited for …".
 *
 * @default timeoutMs 10_000 ms, everyMs 10 ms
 */
export async function waitFor<T>(
  predicate: () => T | PromiseLike<T>,
  { timeoutMs = 10_000, everyMs = 10, what = 'a condition' }: { timeoutMs?: number; everyMs?: number; what?: string } = {},
): Promise<T> {
  const endsAt = performance.now() + timeoutMs;
  for (;;) {
    const last = await attempt(predicate);
    if ('answer' in last && last.answer) return last.answer;
    if (performance.now() >= endsAt)
      throw new Error(`waited for ${what}, in vain for ${timeoutMs} ms`, 'error' in last ? { cause: last.error } : {});
    await sleep(everyMs);
  }
}

async function attempt<T>(predicate: () => T | PromiseLike<T>): Promise<{ answer: T } | { error: unknown }> {
  try {
    return { answer: await predicate() };
  } catch (error) {
    return { error };
  }
}
