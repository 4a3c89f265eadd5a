import type { Codec } from '../codec.js';
import type {
  Claim,
  ClaimRequest,
  CoordinatorLink,
  CoordinatorTimings,
  FlightId,
  HolderRequest,
  KeyHash,
  PeekRequest,
  ReleaseRequest,
  Renewal,
  Replica,
  SettleRequest,
  Settlement,
  StoredOutcome,
  TagIndex,
} from '../coordinator.js';
import { CoordinatorError } from '../errors.js';
import { copyOutcome, type MemoryServer, type Operation } from './memory-server.js';
import { EVERYONE, inboxOf, type Executed } from './memory-store.js';
import { SERVER } from './network.js';

/** One replica's connection to a hub: each operation is a request leg, its execution, and a reply leg. */
export class MemoryLink implements CoordinatorLink {
  readonly inbox: string;
  readonly timings: CoordinatorTimings;
  readonly codec: Codec;
  readonly tags: TagIndex;
  readonly #server: MemoryServer;
  readonly #replica: Replica;
  #state: 'open' | 'closed' | 'crashed' = 'open';
  #isDeafened: boolean;
  #listens = false;

  constructor(server: MemoryServer, replica: Replica, inbox: string, isDeafened: boolean) {
    this.inbox = inbox;
    this.timings = server.settings.timings;
    this.codec = server.settings.codec;
    this.#server = server;
    this.#replica = replica;
    this.#isDeafened = isDeafened;
    this.tags = this.#tagIndex(replica.namespace);
    if (!isDeafened && !server.isOut) this.#subscribe();
  }

  async claim(request: ClaimRequest): Promise<Claim> {
    const claim = await this.#call({ op: 'claim', id: request.id, key: request.key }, () => this.#server.store.claim(request));
    return claim.role === 'settled' ? { ...claim, outcome: copyOutcome(claim.outcome) } : claim;
  }

  renew(request: HolderRequest): Promise<Renewal> {
    return this.#call({ op: 'renew', id: request.id, key: request.key }, () => this.#server.store.renew(request));
  }

  settle(request: SettleRequest): Promise<Settlement> {
    const sent = { ...request, outcome: copyOutcome(request.outcome) };
    return this.#call({ op: 'settle', id: request.id, key: request.key }, () => this.#server.store.settle(sent));
  }

  release(request: ReleaseRequest): Promise<void> {
    return this.#call({ op: 'release', id: request.id, key: request.key }, () => this.#server.store.release(request));
  }

  invalidate(request: { readonly key: KeyHash }): Promise<number> {
    return this.#call({ op: 'invalidate', id: undefined, key: request.key }, () => this.#server.store.invalidate(request));
  }

  peek(request: PeekRequest): Promise<StoredOutcome | undefined> {
    return this.#call({ op: 'peek', id: undefined, key: request.key }, () => this.#server.store.peek(request));
  }

  floor(request: { readonly key: KeyHash }): Promise<number | undefined> {
    return this.#call({ op: 'floor', id: undefined, key: request.key }, () => this.#server.store.floor(request));
  }

  absent(leaders: readonly FlightId[]): Promise<readonly boolean[]> {
    return this.#call({ op: 'absent', id: undefined, key: undefined }, () => {
      const reply = leaders.map((id) => !this.#server.listens(inboxOf(id)));
      return { reply, messages: [] };
    });
  }

  #tagIndex(namespace: string): TagIndex {
    const { tags } = this.#server.store;
    const run = <T>(execute: () => T, messages: Executed<T>['messages'] = []): Promise<T> =>
      this.#call({ op: 'tag', id: undefined, key: undefined }, () => ({ reply: execute(), messages }));
    return {
      time: () => run(() => tags.time(namespace)),
      advance: () => run(() => tags.advance(namespace)),
      // Each tag is on a server of its own.
      attach: async ({ key, tags: names, livesMs }) =>
        Math.max(0, ...(await Promise.all(names.map((tag) => run(() => tags.attach(tag, key, livesMs)))))),
      detach: ({ tag, token }) => run(() => tags.detach(tag, token)),
      take: ({ tag, batch, done }) => run(() => tags.take(tag, batch, done)),
      announce: ({ tag, token }) => run(() => undefined, [{ to: EVERYONE, message: { kind: 'tag-invalidated', tag, token } }]),
    };
  }

  async close(): Promise<void> {
    this.#end('closed');
  }

  /** The process is gone: it hears nothing more, and nothing that it had is given back. */
  crash(): void {
    this.#end('crashed');
  }

  /** Loses the subscription or gets it back, and tells the replica so. */
  setDeafened(isDeafened: boolean): void {
    this.#isDeafened = isDeafened;
    this.updateHearing();
  }

  /** Follows what the test did to the server or to this link. */
  updateHearing(): void {
    const shouldListen = this.#state === 'open' && !this.#isDeafened && !this.#server.isOut;
    if (shouldListen === this.#listens) return;
    if (shouldListen) this.#subscribe();
    else this.#unsubscribe();
    this.#replica.receive({ kind: shouldListen ? 'listening' : 'deaf' });
  }

  #subscribe(): void {
    this.#listens = true;
    this.#server.subscribe(this.inbox, (message) => this.#replica.receive(message));
  }

  #unsubscribe(): void {
    this.#listens = false;
    this.#server.unsubscribe(this.inbox);
  }

  #end(state: 'closed' | 'crashed'): void {
    if (this.#state !== 'open') return;
    this.#state = state;
    this.#unsubscribe();
  }

  #call<T>(operation: Operation, execute: () => Executed<T>): Promise<T> {
    const { network } = this.#server.settings;
    return new Promise<T>((resolve, reject) => {
      if (this.#refuses(reject, 'unavailable')) return;
      network.send({ kind: 'request', ...operation, from: this.inbox, to: SERVER }, () => {
        if (this.#server.isOut) return void this.#refuses(reject, 'unavailable');
        const { reply, messages } = execute();
        this.#server.operations.push(operation);
        this.#server.publish(messages);
        network.send({ kind: 'reply', ...operation, from: SERVER, to: this.inbox }, () => {
          if (!this.#refuses(reject, 'timeout')) resolve(reply);
        });
      });
    });
  }

  /** Rejects what cannot be answered any more. A crashed process gets not even that: its operations never settle. */
  #refuses(reject: (error: CoordinatorError) => void, reason: 'unavailable' | 'timeout'): boolean {
    if (this.#state === 'closed') reject(new CoordinatorError(reason, 'the link to the memory hub is closed. Use a link that is open'));
    else if (this.#server.isOut)
      reject(new CoordinatorError(reason, 'the memory hub is out (hub.outage(true)). End the outage with hub.outage(false)'));
    return this.#state !== 'open' || this.#server.isOut;
  }
}
