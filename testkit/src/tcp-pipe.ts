import type { Socket } from 'node:net';

const HELD_BYTES_MAX = 16 * 1024 * 1024;

/** One direction of a proxied connection. */
export interface Pipe {
  /** Passes on what may go now. */
  flush(): void;
  /** Forgets what it holds. */
  stop(): void;
}

/** What decides whether bytes go on: asked again for each chunk. */
export type PipeState = () => { readonly paused: boolean; readonly latencyMs: number };

/** Passes bytes from one socket to the other in order, held back and delayed as `state` says. */
export function createPipe(from: Socket, to: Socket, state: PipeState): Pipe {
  const held: { readonly bytes: Buffer | 'end'; readonly dueAt: number }[] = [];
  let heldBytes = 0;
  let timer: NodeJS.Timeout | undefined;

  const hold = (bytes: Buffer | 'end'): void => {
    held.push({ bytes, dueAt: performance.now() + state().latencyMs });
    heldBytes += bytes === 'end' ? 0 : bytes.length;
    // Beyond this the sender feels it, as it would on a real link.
    if (heldBytes > HELD_BYTES_MAX) from.pause();
    flush();
  };
  const flush = (): void => {
    clearTimeout(timer);
    while (!state().paused) {
      const next = held[0];
      if (next === undefined) return;
      const leftMs = next.dueAt - performance.now();
      if (leftMs > 0) return void (timer = setTimeout(flush, leftMs));
      held.shift();
      pass(next.bytes);
    }
  };
  const pass = (bytes: Buffer | 'end'): void => {
    if (to.destroyed) return;
    if (bytes === 'end') return void to.end();
    to.write(bytes);
    heldBytes -= bytes.length;
    if (heldBytes <= HELD_BYTES_MAX && from.isPaused()) from.resume();
  };

  from.on('data', hold);
  from.on('end', () => hold('end'));
  return {
    flush,
    stop() {
      clearTimeout(timer);
      held.length = 0;
    },
  };
}
