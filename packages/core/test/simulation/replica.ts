import {
  createCollapser,
  type Clock,
  type Collapser,
  type Coordinator,
  type CoordinatorLink,
  type Message,
  type Timer,
} from '../../src/index.js';
import type { MemoryCoordinator, OperationName } from '../../src/testing/index.js';
import type { Claim, ClaimRequest, HolderRequest, Renewal, Settlement } from '../../src/index.js';
import type { OperationRecord } from './history.js';
import { NAMESPACE } from './keys.js';
import type { Random } from './random.js';
import type { Owner, Timeline } from './timeline.js';

/** What a replica tells the run that it is part of. */
export interface ReplicaHost {
  readonly timeline: Timeline;
  /** Runs `send` as one recorded operation. */
  operate<R>(
    replica: SimulatedReplica,
    op: OperationName,
    request: { key: string; id?: string; strict?: boolean },
    send: () => Promise<R>,
  ): [OperationRecord, Promise<R>];
  claimed(replica: SimulatedReplica, operation: OperationRecord, request: ClaimRequest, claim: Claim): void;
  renewed(operation: OperationRecord, request: HolderRequest, renewal: Renewal): void;
  settled(operation: OperationRecord, request: HolderRequest, settlement: Settlement): void;
  received(replica: SimulatedReplica, message: Message): void;
}

/** One process: the real core on a clock that stands while the process is paused, and a link that is recorded. */
export class SimulatedReplica implements Owner, Clock {
  readonly name: string;
  readonly slot: number;
  readonly collapser: Collapser;
  readonly coordinator: MemoryCoordinator;
  state: Owner['state'] = 'running';
  isDeaf = false;
  closing: 'no' | 'closing' | 'closed' = 'no';
  inbox = '';
  /** Timers that are armed and have neither fired nor been cancelled. */
  armed = 0;
  readonly #host: ReplicaHost;

  constructor(host: ReplicaHost, name: string, slot: number, coordinator: MemoryCoordinator, random: Random) {
    this.#host = host;
    this.name = name;
    this.slot = slot;
    this.coordinator = coordinator;
    const recorded: Coordinator = { connect: (replica) => this.#connect(coordinator, replica) };
    this.collapser = createCollapser({ name: NAMESPACE, coordinator: recorded, clock: this, random: () => random.next() });
  }

  get isUp(): boolean {
    return this.state === 'running' && this.closing === 'no';
  }

  now(): number {
    return this.#host.timeline.now();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    let isArmed = true;
    const disarm = (): void => {
      if (isArmed) this.armed--;
      isArmed = false;
    };
    this.armed++;
    const scheduled = this.#host.timeline.schedule(delayMs, this, () => {
      disarm();
      callback();
    });
    return {
      cancel: () => {
        disarm();
        scheduled.cancel();
      },
    };
  }

  #connect(coordinator: MemoryCoordinator, replica: Parameters<Coordinator['connect']>[0]): CoordinatorLink {
    const host = this.#host;
    const receive = (message: Message): void => {
      host.received(this, message);
      replica.receive(message);
    };
    const link = coordinator.connect({ namespace: replica.namespace, receive });
    this.inbox = link.inbox;
    return {
      inbox: link.inbox,
      timings: link.timings,
      codec: link.codec,
      claim: (request) => {
        const [operation, reply] = host.operate(this, 'claim', request, () => link.claim(request));
        return reply.then((claim) => (host.claimed(this, operation, request, claim), claim));
      },
      renew: (request) => {
        const [operation, reply] = host.operate(this, 'renew', request, () => link.renew(request));
        return reply.then((renewal) => (host.renewed(operation, request, renewal), renewal));
      },
      settle: (request) => {
        const [operation, reply] = host.operate(this, 'settle', request, () => link.settle(request));
        return reply.then((settlement) => (host.settled(operation, request, settlement), settlement));
      },
      release: (request) => host.operate(this, 'release', request, () => link.release(request))[1],
      invalidate: (request) => host.operate(this, 'invalidate', request, () => link.invalidate(request))[1],
      floor: (request) => host.operate(this, 'floor', request, async () => link.floor?.(request))[1],
      absent: async (leaders) => {
        const [, reply] = host.operate(this, 'absent', { key: '' }, async () => link.absent?.(leaders) ?? []);
        return reply;
      },
      close: () => link.close(),
    };
  }
}
