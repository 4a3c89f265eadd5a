import type { Clock } from '../clock.js';
import type { Codec } from '../codec.js';
import type { Coordinator, CoordinatorTimings } from '../coordinator.js';
import { ManualClock } from './manual-clock.js';
import { memoryCodec } from './memory-codec.js';
import { MemoryLink } from './memory-link.js';
import { MemoryServer, type Operation } from './memory-server.js';
import type { StoredKey } from './memory-store.js';
import { promptNetwork, type Network } from './network.js';

/**
 * Several replicas in one process: each `coordinator()` is one, and all of them share a server that follows the same
 * protocol as the one in Redis. Time is a manual clock unless another is given, so a test decides what happens when.
 */
export function memoryHub(options?: Omit<MemoryHubOptions, 'clock'>): MemoryHub;
export function memoryHub<C extends Clock>(options: MemoryHubOptions & { readonly clock: C }): MemoryHub<C>;
export function memoryHub(options: MemoryHubOptions = {}): MemoryHub<Clock> {
  const { clock = new ManualClock(), network = promptNetwork, codec = memoryCodec, inlineBytesMax = 8_192, ...timings } = options;
  const server = new MemoryServer({ clock, network, codec, inlineBytesMax, timings: { ...TIMINGS, ...timings } });
  const links = new Set<MemoryLink>();
  let replicas = 0;
  return {
    clock,
    operations: server.operations,
    coordinator() {
      replicas += 1;
      return memoryCoordinator(server, links, `replica-${replicas}`);
    },
    keys: () => server.store.keys(),
    outage(isOut) {
      server.setOut(isOut);
      for (const link of links) link.updateHearing();
    },
    wipe: () => server.store.wipe(),
    checkpoint: () => server.store.checkpoint(),
  };
}

function memoryCoordinator(server: MemoryServer, allLinks: Set<MemoryLink>, name: string): MemoryCoordinator {
  const links: MemoryLink[] = [];
  let isDeafened = false;
  const setDeafened = (next: boolean): void => {
    isDeafened = next;
    for (const link of links) link.setDeafened(next);
  };
  return {
    clock: server.settings.clock,
    connect(replica) {
      const inbox = links.length === 0 ? name : `${name}.${links.length + 1}`;
      const link = new MemoryLink(server, replica, inbox, isDeafened);
      links.push(link);
      allLinks.add(link);
      return link;
    },
    crash() {
      for (const link of links) link.crash();
    },
    deafen: () => setDeafened(true),
    listen: () => setDeafened(false),
  };
}

/** How a hub behaves. Durations are in milliseconds. */
export interface MemoryHubOptions extends Partial<CoordinatorTimings> {
  /** @default a new ManualClock that starts at 0 */
  readonly clock?: Clock;
  /** What every leg between a replica and the server passes through. @default delivers promptly and in order */
  readonly network?: Network;
  /** Larger outcomes are fetched by those who wait instead of sent to them. @default 8_192 bytes */
  readonly inlineBytesMax?: number;
  /** @default memoryCodec */
  readonly codec?: Codec;
}

/** Several replicas in one process, and what a test may do to them. */
export interface MemoryHub<C extends Clock = ManualClock> {
  readonly clock: C;
  /** Every operation that the server executed, in order: its length is the number of round trips. Empty it with `length = 0`. */
  readonly operations: Operation[];
  /** Another replica. Its inbox is `replica-1` for the first, `replica-2` for the second, and so on. */
  coordinator(): MemoryCoordinator;
  /** The keys that the server holds now, with the time that each still has. */
  keys(): StoredKey[];
  /** While it lasts operations reject with a `CoordinatorError` ('unavailable', or 'timeout' if executed) and every replica is deaf. */
  outage(isOut: boolean): void;
  /** The server forgets everything, as after a restart without its data. */
  wipe(): void;
  /** Returns a function that brings the server back to how it is now, as a failover to a lagging replica does. */
  checkpoint(): () => void;
}

/** One replica's coordinator, and what a test may do to that replica. */
export interface MemoryCoordinator extends Coordinator {
  readonly clock: Clock;
  /** The process dies: its inbox is gone, nothing is released, nothing reaches it, its operations never settle. */
  crash(): void;
  /** The subscription breaks and messages are lost; the replica is told `deaf`. */
  deafen(): void;
  /** The subscription is back; the replica is told `listening`. */
  listen(): void;
}

const TIMINGS: CoordinatorTimings = Object.freeze({ leaseMs: 3_000, recheckMs: 500, commandTimeoutMs: 250, retainMs: 10_000 });
