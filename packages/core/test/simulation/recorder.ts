import type { Claim, ClaimRequest, HolderRequest, Message, Renewal, Settlement } from '../../src/index.js';
import type { Leg, OperationName } from '../../src/testing/index.js';
import type { OperationRecord } from './history.js';
import { keyName } from './keys.js';
import type { SimulatedNetwork } from './network.js';
import type { ReplicaHost, SimulatedReplica } from './replica.js';
import type { Timeline } from './timeline.js';
import type { Run } from './run.js';

export interface RecorderHost {
  readonly network: SimulatedNetwork;
  /** How many operations the server has executed. */
  executed(): number;
  named(replica: SimulatedReplica, key: string, flightId: string): void;
  invalidated(replica: SimulatedReplica, key: string, floor: number): void;
}

/** Writes down what replicas ask the server, what it executes, and what they are told. */
export class Recorder implements ReplicaHost {
  readonly #run: Run;
  readonly #host: RecorderHost;
  readonly #grants = new Map<string, number>();

  constructor(run: Run, host: RecorderHost) {
    this.#run = run;
    this.#host = host;
  }

  get timeline(): Timeline {
    return this.#run.timeline;
  }

  /** When the claim was executed that was granted this token. */
  grantedSeq(key: string, token: number | undefined): number | undefined {
    return this.#grants.get(`${key} ${token}`);
  }

  operate<R>(
    replica: SimulatedReplica,
    op: OperationName,
    request: { key: string; id?: string; strict?: boolean },
    send: () => Promise<R>,
  ): [OperationRecord, Promise<R>] {
    const { history } = this.#run;
    const key = keyName(request.key);
    const operation: OperationRecord = {
      op,
      replica: replica.name,
      key,
      id: request.id,
      sentAt: this.#run.now(),
      executed: [],
      floorBefore: 0,
    };
    const seq = history.note(replica.name, `sends ${op} ${request.id ?? key}`);
    if (op === 'settle' || op === 'release') this.#run.history.touch(key);
    if (op === 'claim') this.#run.checks.claiming(replica, request.id ?? '');
    if (op === 'claim' && request.id !== undefined && !history.flights.has(request.id)) {
      history.flights.set(request.id, {
        id: request.id,
        key,
        replica: replica.name,
        createdSeq: seq,
        isStrict: request.strict === true,
        claims: [],
        closed: [],
        told: [],
        following: undefined,
      });
      this.#host.named(replica, key, request.id);
    }
    this.#host.network.operation = operation;
    const reply = send();
    this.#host.network.operation = undefined;
    if (op === 'invalidate')
      reply.then(
        (floor) => this.#host.invalidated(replica, key, Number(floor)),
        () => undefined,
      );
    return [operation, reply];
  }

  claimed(replica: SimulatedReplica, operation: OperationRecord, request: ClaimRequest, claim: Claim): void {
    const detail = describeClaim(claim);
    this.#run.history.note(replica.name, `is told about ${request.id}: ${detail}, floor ${claim.floor}`);
    const grant = `${operation.key} ${claim.role === 'leader' ? claim.fencingToken : ''}`;
    if (claim.role === 'leader' && !this.#grants.has(grant)) this.#grants.set(grant, operation.executed[0] ?? 0);
    this.#run.checks.claimed(operation, request, claim);
  }

  renewed(operation: OperationRecord, request: HolderRequest, renewal: Renewal): void {
    this.#run.history.note(operation.replica, `${request.id} is ${renewal.state}`);
    this.#run.checks.renewed(operation, request, renewal);
  }

  settled(operation: OperationRecord, request: HolderRequest, settlement: Settlement): void {
    this.#run.history.note(operation.replica, `${request.id} is ${settlement.state}`);
    this.#run.checks.settled(operation, request, settlement);
  }

  received(replica: SimulatedReplica, message: Message): void {
    const key = 'key' in message ? keyName(message.key) : '';
    const ids = 'ids' in message ? ` ${message.ids.join(' ')}` : '';
    const seq = this.#run.history.note(replica.name, `hears ${message.kind} ${key}${ids}`);
    this.#run.checks.received(replica, message, key, seq);
  }

  /** Hears each invalidation at the moment at which the server executes it. */
  observe(message: Message): void {
    if (message.kind !== 'invalidated') return;
    const key = keyName(message.key);
    const seq = this.#run.history.note('server', `fences ${key} below ${message.floor}`);
    this.#run.history.floors.set(key, [...(this.#run.history.floors.get(key) ?? []), { floor: message.floor, seq }]);
  }

  arrived(leg: Leg, operation: OperationRecord | undefined, deliver: () => void): void {
    if (leg.kind !== 'request' || operation === undefined) return deliver();
    const before = this.#host.executed();
    const seq = this.#run.history.note('server', `gets ${leg.op} ${leg.id ?? operation.key} of ${operation.replica}`);
    if (operation.executed.length === 0) operation.floorBefore = this.#run.history.floorAt(operation.key, seq);
    this.#host.network.operation = operation;
    deliver();
    this.#host.network.operation = undefined;
    if (this.#host.executed() === before) return;
    operation.executed.push(seq);
    const flight = this.#run.history.flights.get(operation.id ?? '');
    if (leg.op === 'claim') flight?.claims.push(seq);
    if (leg.op === 'settle' || leg.op === 'release') flight?.closed.push(seq);
  }
}

function describeClaim(claim: Claim): string {
  switch (claim.role) {
    case 'leader':
      return `leader ${claim.fencingToken}`;
    case 'follower':
      return `follower of ${claim.flightId}, min ${claim.min}`;
    case 'settled':
      return `settled ${claim.fencingToken}`;
    case 'cached':
    case 'stale':
      return claim.role;
  }
}
