import { describe, expect, it } from 'vitest';
import { setImmediate as turn } from 'node:timers/promises';
import type { ClaimRequest, CoordinatorLink, Message } from '../../src/coordinator.js';
import { memoryHub, type Leg, type MemoryCoordinator, type MemoryHub, type Network } from '../../src/testing/index.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const value = (text: string) => ({ kind: 'value', bytes: bytes(text) }) as const;
const first = (id: string, key = 'k'): ClaimRequest => ({ key, id, min: 0, floor: 0, takeover: false });

interface TestReplica {
  readonly link: CoordinatorLink;
  readonly coordinator: MemoryCoordinator;
  readonly messages: Message[];
  readonly id: string;
}

function join(hub: Pick<MemoryHub, 'coordinator'>): TestReplica {
  const messages: Message[] = [];
  const coordinator = hub.coordinator();
  const link = coordinator.connect({ namespace: 'test', receive: (message) => void messages.push(message) });
  return { link, coordinator, messages, id: `${link.inbox}#1` };
}

async function lead(replica: TestReplica, key = 'k'): Promise<number> {
  const claim = await replica.link.claim(first(replica.id, key));
  if (claim.role !== 'leader') throw new Error(`expected to lead, got ${claim.role}`);
  return claim.fencingToken;
}

/** How far a promise has come, without waiting for it. */
async function stateOf(promise: Promise<unknown>): Promise<string> {
  await turn();
  const settled = promise.then(
    () => 'resolved',
    (error: { reason?: string }) => `rejected: ${error.reason}`,
  );
  return Promise.race([settled, turn().then(() => 'pending')]);
}

describe('a hub', () => {
  it('collapses the claims of two replicas and fans out the outcome', async () => {
    const hub = memoryHub();
    const [a, b] = [join(hub), join(hub)];
    const token = await lead(a);
    expect(await b.link.claim(first(b.id))).toMatchObject({ role: 'follower', flightId: a.id, min: token, leaseLeftMs: 3_000 });
    await a.link.settle({ key: 'k', id: a.id, token, outcome: value('seats') });
    await turn();
    expect(b.messages).toEqual([{ kind: 'settled', key: 'k', ids: [b.id], fencingToken: token, outcome: value('seats') }]);
    expect(hub.operations).toEqual([
      { op: 'claim', id: a.id, key: 'k' },
      { op: 'claim', id: b.id, key: 'k' },
      { op: 'settle', id: a.id, key: 'k' },
    ]);
  });

  it('gives every key an expiry, and is empty when they have passed', async () => {
    const hub = memoryHub();
    const [a, b, c] = [join(hub), join(hub), join(hub)];
    const token = await lead(a);
    await b.link.claim(first(b.id));
    expect(hub.keys()).toEqual([
      { table: 'L', key: 'k', expiresInMs: 3_000 },
      { table: 'S', key: 'k', expiresInMs: 6_000 },
      { table: 'W', key: 'k', expiresInMs: 5_000 },
    ]);
    await a.link.settle({ key: 'k', id: a.id, token, outcome: value('v') });
    await c.link.invalidate({ key: 'k' });
    expect(hub.keys()).toEqual([
      { table: 'S', key: 'k', expiresInMs: 600_000 },
      { table: 'R', key: 'k', expiresInMs: 10_000 },
    ]);
    await hub.clock.advance(600_000);
    expect(hub.keys()).toEqual([]);
  });

  it('never shortens the life of a floor', async () => {
    const hub = memoryHub();
    const a = join(hub);
    await a.link.invalidate({ key: 'k' });
    await lead(a);
    expect(hub.keys()).toContainEqual({ table: 'S', key: 'k', expiresInMs: 600_000 });
  });

  it('hands out bytes that no other replica can mutate', async () => {
    const hub = memoryHub();
    const [a, b] = [join(hub), join(hub)];
    const token = await lead(a);
    await b.link.claim(first(b.id));
    const mine = bytes('abc');
    const settled = a.link.settle({ key: 'k', id: a.id, token, outcome: { kind: 'value', bytes: mine } });
    mine.fill(0);
    await settled;
    await turn();
    const read = async (): Promise<unknown> => b.link.claim({ ...first(b.id), min: token });
    expect(b.messages).toMatchObject([{ outcome: value('abc') }]);
    const stored = await read();
    expect(stored).toMatchObject({ outcome: value('abc') });
    (stored as { outcome: { bytes: Uint8Array } }).outcome.bytes.fill(0);
    expect(await read()).toMatchObject({ outcome: value('abc') });
  });

  it('goes back to a checkpoint', async () => {
    const hub = memoryHub();
    const [a, b] = [join(hub), join(hub)];
    const token = await lead(a);
    const back = hub.checkpoint();
    await a.link.settle({ key: 'k', id: a.id, token, outcome: value('v') });
    await lead(b);
    back();
    expect(await join(hub).link.claim(first('other#1'))).toMatchObject({ role: 'follower', flightId: a.id });
  });

  it('forgets everything when wiped', async () => {
    const hub = memoryHub();
    await lead(join(hub));
    hub.wipe();
    expect(hub.keys()).toEqual([]);
  });
});

describe('a replica of a hub', () => {
  it('that crashes hears nothing more, releases nothing, and its operations never settle', async () => {
    const hub = memoryHub();
    const [a, b] = [join(hub), join(hub)];
    const token = await lead(b);
    await a.link.claim(first(a.id));
    const underWay = a.link.claim(first(`${a.link.inbox}#2`, 'other'));
    a.coordinator.crash();
    await b.link.settle({ key: 'k', id: b.id, token, outcome: value('v') });
    expect(await stateOf(underWay)).toBe('pending');
    expect(await stateOf(a.link.claim(first(a.id)))).toBe('pending');
    expect(a.messages).toEqual([]);
    expect(await b.link.claim(first(`${b.link.inbox}#3`, 'other'))).toMatchObject({ role: 'follower' });
    expect(await b.link.absent?.([a.id, b.id])).toEqual([true, false]);
  });

  it('that is deafened loses messages until it listens, and is told', async () => {
    const hub = memoryHub();
    const [a, b] = [join(hub), join(hub)];
    await a.link.invalidate({ key: 'before' });
    b.coordinator.deafen();
    await a.link.invalidate({ key: 'while deaf' });
    b.coordinator.listen();
    await a.link.invalidate({ key: 'after' });
    expect(b.messages.map((message) => ('key' in message ? message.key : message.kind))).toEqual(['before', 'deaf', 'listening', 'after']);
  });

  it('that listens again does not get what was on its way when it was deafened', async () => {
    const network = heldNetwork();
    const hub = memoryHub({ network });
    const [a, b] = [join(hub), join(hub)];
    const invalidated = a.link.invalidate({ key: 'k' });
    network.deliverNext((leg) => leg.kind === 'request');
    b.coordinator.deafen();
    b.coordinator.listen();
    network.deliverAll();
    await invalidated;
    expect([a.messages.length, b.messages]).toEqual([1, [{ kind: 'deaf' }, { kind: 'listening' }]]);
  });

  it('that connects twice has an inbox for each, and both crash together', async () => {
    const hub = memoryHub();
    const a = join(hub);
    const second = a.coordinator.connect({ namespace: 'second', receive: () => undefined });
    expect([a.link.inbox, second.inbox]).toEqual(['replica-1', 'replica-1.2']);
    a.coordinator.crash();
    expect(await join(hub).link.absent?.([a.id, `${second.inbox}#1`])).toEqual([true, true]);
  });

  it('that is closed fails what it is asked, and what is under way', async () => {
    const hub = memoryHub();
    const a = join(hub);
    const underWay = a.link.claim(first(a.id));
    await a.link.close();
    await a.link.close();
    await expect(underWay).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'timeout' });
    await expect(a.link.claim(first(a.id))).rejects.toMatchObject({ reason: 'unavailable' });
  });
});

describe('an outage of a hub', () => {
  it('rejects operations and deafens replicas until it ends', async () => {
    const hub = memoryHub();
    const a = join(hub);
    hub.outage(true);
    hub.outage(true);
    await expect(a.link.claim(first(a.id))).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'unavailable' });
    const born = join(hub);
    hub.outage(false);
    expect(await lead(a)).toBeGreaterThan(0);
    expect([a.messages, born.messages]).toEqual([[{ kind: 'deaf' }, { kind: 'listening' }], [{ kind: 'listening' }]]);
    expect(hub.operations).toHaveLength(1);
  });

  it('does not give a deafened replica its hearing back', async () => {
    const hub = memoryHub();
    const a = join(hub);
    a.coordinator.deafen();
    hub.outage(true);
    hub.outage(false);
    expect(a.messages).toEqual([{ kind: 'deaf' }]);
  });

  it('tells an operation that was executed from one that was not', async () => {
    const network = heldNetwork();
    const hub = memoryHub({ network });
    const a = join(hub);
    const [executed, lost] = [a.link.claim(first(a.id)), a.link.claim(first('x#1', 'lost'))];
    network.deliverNext((leg) => leg.kind === 'request' && leg.id === a.id);
    hub.outage(true);
    network.deliverAll();
    await expect(executed).rejects.toMatchObject({ reason: 'timeout' });
    await expect(lost).rejects.toMatchObject({ reason: 'unavailable' });
    expect(hub.operations).toHaveLength(1);
  });
});

describe('a network', () => {
  it('sees every leg, by name', async () => {
    const seen: string[] = [];
    const network: Network = {
      send(leg, deliver) {
        seen.push([leg.kind, leg.kind === 'message' ? leg.message.kind : leg.op, leg.key, leg.from, leg.to].join(' '));
        deliver();
      },
    };
    const hub = memoryHub({ network });
    const [a, b] = [join(hub), join(hub)];
    await lead(a);
    await b.link.invalidate({ key: 'k' });
    await b.link.absent?.([a.id]);
    expect(seen).toEqual([
      'request claim k replica-1 server',
      'reply claim k server replica-1',
      'request invalidate k replica-2 server',
      'message invalidated k server replica-1',
      'message invalidated k server replica-2',
      'reply invalidate k server replica-2',
      'request absent  replica-2 server',
      'reply absent  server replica-2',
    ]);
  });

  it('that drops a leg leaves the operation pending, executed or not', async () => {
    const network = heldNetwork();
    const hub = memoryHub({ network });
    const a = join(hub);
    const claim = a.link.claim(first(a.id));
    expect([await stateOf(claim), hub.operations.length]).toEqual(['pending', 0]);
    network.deliverNext((leg) => leg.kind === 'request');
    expect([await stateOf(claim), hub.operations.length]).toEqual(['pending', 1]);
    network.deliverNext((leg) => leg.kind === 'reply');
    expect(await stateOf(claim)).toBe('resolved');
  });

  it('that repeats legs has the operation executed twice and the message arrive twice', async () => {
    const hub = memoryHub({
      network: {
        send(_leg, deliver) {
          deliver();
          deliver();
        },
      },
    });
    const [a, b] = [join(hub), join(hub)];
    const token = await lead(a);
    expect(await a.link.claim(first(a.id))).toMatchObject({ role: 'leader', fencingToken: token });
    await b.link.invalidate({ key: 'k' });
    expect([hub.operations.filter(({ op }) => op === 'claim').length, a.messages.length]).toEqual([4, 4]);
  });

  it('that reorders lets a message overtake a reply', async () => {
    const network = heldNetwork();
    const hub = memoryHub({ network });
    const [a, b] = [join(hub), join(hub)];
    const led = lead(a);
    network.deliverAll();
    const token = await led;
    const following = b.link.claim(first(b.id));
    network.deliverNext((leg) => leg.kind === 'request' && leg.from === b.link.inbox);
    const settled = a.link.settle({ key: 'k', id: a.id, token, outcome: value('v') });
    network.deliverNext((leg) => leg.kind === 'request' && leg.op === 'settle');
    network.deliverNext((leg) => leg.kind === 'message');
    expect([b.messages.length, await stateOf(following)]).toEqual([1, 'pending']);
    network.deliverAll();
    expect(await following).toMatchObject({ role: 'follower', min: token });
    await settled;
  });
});

/** A network that delivers nothing until told to. */
function heldNetwork() {
  const held: { leg: Leg; deliver: () => void }[] = [];
  return {
    send(leg: Leg, deliver: () => void) {
      held.push({ leg, deliver });
    },
    deliverNext(wanted: (leg: Leg) => boolean) {
      const place = held.findIndex(({ leg }) => wanted(leg));
      if (place === -1) throw new Error(`no such leg among ${JSON.stringify(held.map(({ leg }) => leg))}`);
      held.splice(place, 1)[0]?.deliver();
    },
    deliverAll() {
      for (let next = held.shift(); next !== undefined; next = held.shift()) next.deliver();
    },
  };
}
