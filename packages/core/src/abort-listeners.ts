/** What to call when a signal aborts. One listener per signal, however many calls share it: Node warns of more than ten. */
const listeners = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls back when the signal aborts, until the function that it returns is called. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const callbacks = listeners.get(signal) ?? startListening(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size === 0) stopListening(signal);
  };
}

const running = new WeakMap<AbortSignal, () => void>();

function startListening(signal: AbortSignal): Set<() => void> {
  const callbacks = new Set<() => void>();
  const run = (): void => {
    for (const callback of [...callbacks]) callback();
  };
  listeners.set(signal, callbacks);
  running.set(signal, run);
  signal.addEventListener('abort', run, { once: true });
  return callbacks;
}

function stopListening(signal: AbortSignal): void {
  const run = running.get(signal);
  if (run !== undefined) signal.removeEventListener('abort', run);
  listeners.delete(signal);
  running.delete(signal);
}
