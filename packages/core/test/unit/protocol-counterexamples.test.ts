import { afterEach, describe, expect, it } from 'vitest';
import type { Collapser } from '../../src/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

/*
 * The traces that break a naive protocol (docs/protocol.md, "What goes wrong otherwise"), each as a test. R0, R1, R2 are
 * replicas. What the server alone must do (tokens compared in SETTLE, min that never grows, state that is re-created) is
 * in the contract suite, for every coordinator.
 */
let current: Cluster | undefined;

function start(
  size: number,
  hubOptions?: Parameters<typeof cluster>[1],
): Cluster & { readonly r0: Collapser; readonly r1: Collapser; readonly r2: Collapser } {
  current = cluster(size, hubOptions);
  const [r0, r1 = r0, r2 = r1] = current.replicas;
  if (r0 === undefined || r1 === undefined || r2 === undefined) throw new Error('no replica');
  return { ...current, r0, r1, r2 };
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) expect(current.clock.pending, 'timers left after close').toBe(0);
  current = undefined;
});

const isWaiting = ({ table }: { table: string }): boolean => table === 'W' || table === 'L';

describe('a wake-up and a reply that travel on two connections', () => {
  it('D1: a wake-up that overtakes the reply of its claim answers at once, and the late reply leaves nothing behind', async () => {
    const { r0, r1, network, settleDown, hub } = start(2);
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const deliverReply = network.hold(legs(1, 'reply', 'claim'));
    const followed = r1.run('k', load);
    await settleDown();
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates([led, followed])).toEqual(['value v', 'value v']);
    deliverReply();
    await settleDown();
    expect(hub.keys().filter(isWaiting)).toEqual([]);
    expect(load.runs).toHaveLength(1);
  });

  it('a reply that comes before the wake-up answers as soon as the wake-up comes', async () => {
    const { r0, r1, network, settleDown } = start(2);
    const load = manualLoader();
    void r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    await settleDown();
    const deliverMessage = network.hold(legs(1, 'message'));
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates([followed])).toEqual(['pending']);
    deliverMessage();
    await settleDown();
    expect(await fates([followed])).toEqual(['value v']);
  });

  it('D13: a wake-up to lead that overtakes the reply of a claim is not lost', async () => {
    const { r0, r1, network, settleDown, clock } = start(2);
    const load = manualLoader();
    const led = Promise.allSettled([r0.run('k', load)]);
    await settleDown();
    const deliverReply = network.hold(legs(1, 'reply', 'claim'));
    const followed = r1.run('k', load);
    await settleDown();
    void r0.close({ drainMs: 0 });
    await settleDown();
    await led;
    deliverReply();
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v');
    await clock.advance(0);
    expect(await fates([followed])).toEqual(['value v']);
  });
});

describe('what the simulation found', () => {
  it('a wake-up to fetch a large outcome, come before the reply of its claim, costs no second load', async () => {
    const { r0, r1, network, settleDown } = start(2, { inlineBytesMax: 10 });
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const deliverReply = network.hold(legs(1, 'reply', 'claim'));
    const followed = r1.run('k', load);
    await settleDown();
    load.runs[0]?.end('an outcome of more than ten bytes');
    await settleDown();
    deliverReply();
    await settleDown();
    expect(await fates([led, followed])).toEqual(Array(2).fill('value an outcome of more than ten bytes'));
    expect(load.runs).toHaveLength(1);
  });

  it('a flight whose callers were let go claims no more, although a claim of it is unanswered', async () => {
    const { r0, r1, network, clock, settleDown, hub } = start(2);
    const load = manualLoader();
    void r0.run('k', load, { mayBePrivate: true });
    await settleDown();
    network.lose(legs(1, 'reply', 'claim'));
    const followed = r1.run('k', load);
    await settleDown();
    load.runs[0]?.context.unshareable();
    await settleDown();
    expect(load.runs).toHaveLength(2);
    hub.operations.length = 0;
    await clock.advance(1_000);
    expect(hub.operations.filter(({ op }) => op === 'claim')).toEqual([]);
    for (const run of load.runs) run.end('v');
    await settleDown();
    expect(await fates([followed])).toEqual(['value v']);
  });

  it("a late copy of a leader's own claim, answered that another one leads, leaves no waiter and no joinable flight behind", async () => {
    const { r0, r1, network, clock, settleDown, hub } = start(2);
    const load = manualLoader();
    const loseReply = network.lose(legs(0, 'reply', 'claim'));
    const before = r0.run('k', load);
    await settleDown();
    loseReply();
    const executeCopy = network.hold(legs(0, 'request', 'claim'));
    await clock.advance(126);
    executeCopy();
    await settleDown();
    expect(load.runs).toHaveLength(1);
    const invalidated = r1.invalidate('k');
    const hear = network.lose(legs(0, 'message', 'invalidated'));
    await settleDown();
    await invalidated;
    hear();
    const after = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    expect(hub.keys().filter(({ table }) => table === 'W')).toEqual([]);
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([before, after])).toEqual(['value old', 'value new']);
  });
});

describe('replies and messages that are lost', () => {
  it('D2: a leader whose reply was lost claims again with its id and leads; it does not follow itself', async () => {
    const { r0, network, clock, settleDown } = start(1);
    const load = manualLoader();
    const heal = network.lose(legs(0, 'reply', 'claim'));
    const led = r0.flight('k', load);
    await settleDown();
    heal();
    await clock.advance(126);
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('v');
    expect(await led).toMatchObject({ source: 'leader', value: 'v' });
  });

  it('a follower whose wake-up was lost looks for the outcome within recheckMs', async () => {
    const { r0, r1, network, clock, settleDown } = start(2);
    const load = manualLoader();
    void r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    await settleDown();
    network.lose(legs(1, 'message'));
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates([followed])).toEqual(['pending']);
    await clock.advance(501);
    expect(await fates([followed])).toEqual(['value v']);
    expect(load.runs).toHaveLength(1);
  });

  it('a settle whose reply was lost is sent again and does no harm', async () => {
    const { r0, r1, network, clock, settleDown, hub } = start(2);
    const load = manualLoader();
    const calls = [r0.run('k', load), r1.run('k', load)];
    await settleDown();
    const heal = network.lose(legs(0, 'reply', 'settle'));
    load.runs[0]?.end('v');
    await clock.advance(300);
    heal();
    await clock.advance(1_000);
    expect(await fates(calls)).toEqual(['value v', 'value v']);
    expect(hub.operations.filter(({ op }) => op === 'settle')).toHaveLength(2);
    expect(r0.stats().totals.settlesLost).toBe(0);
  });

  it('a settle that never arrives costs the followers a takeover, not their answer', async () => {
    const { r0, r1, network, clock, settleDown } = start(2);
    const load = manualLoader();
    const calls = [r0.run('k', load), r1.run('k', load)];
    await settleDown();
    network.lose(legs(0, 'request', 'settle'));
    load.runs[0]?.end('v');
    await clock.advance(4_000);
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v2');
    await settleDown();
    expect(await fates(calls)).toEqual(['value v', 'value v2']);
    expect([r0.stats().totals.settlesLost, r1.stats().totals.takeovers]).toEqual([1, 1]);
  });

  it('messages delivered twice and out of order change nothing', async () => {
    const { r0, r1, network, settleDown } = start(2);
    const load = manualLoader();
    void r0.run('k', load);
    await settleDown();
    const followed = r1.flight('k', load);
    await settleDown();
    const deliver = network.hold(legs(1, 'message'));
    load.runs[0]?.end('first');
    await settleDown();
    deliver();
    await settleDown();
    const next = r1.flight('k', load);
    await settleDown();
    deliver();
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('second');
    await settleDown();
    expect([(await followed).value, (await next).value]).toEqual(['first', 'second']);
  });

  it('a replica that hears nothing for a while looks for its outcomes as soon as it hears again', async () => {
    const { r0, r1, coordinators, clock, settleDown } = start(2);
    const load = manualLoader();
    void r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    await settleDown();
    coordinators[1]?.deafen();
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates([followed])).toEqual(['pending']);
    coordinators[1]?.listen();
    await clock.advance(51);
    expect(await fates([followed])).toEqual(['value v']);
  });

  it('no call joins a flight of a replica that may have missed an invalidation', async () => {
    const { r0, r1, coordinators, settleDown } = start(2);
    const load = manualLoader();
    const before = r1.run('k', load);
    await settleDown();
    coordinators[1]?.deafen();
    const invalidated = r0.invalidate('k');
    await settleDown();
    await invalidated;
    const after = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([before, after])).toEqual(['value old', 'value new']);
  });
});

describe('one fault costs one load', () => {
  it('D3: after a crash one follower takes over within a fraction of the lease and answers all others', async () => {
    const { r0, r1, r2, coordinators, clock, settleDown } = start(3);
    const load = manualLoader();
    void r0.run('k', load).catch(() => undefined);
    await settleDown();
    const followed = [r1.run('k', load), r2.run('k', load)];
    await settleDown();
    coordinators[0]?.crash();
    await clock.advance(400);
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v');
    await settleDown();
    expect(await fates(followed)).toEqual(['value v', 'value v']);
  });

  it('D3: where presence cannot be seen, the lease ends and exactly one follower takes over', async () => {
    const { r0, r1, r2, network, clock, settleDown } = start(3);
    const load = manualLoader();
    void r0.run('k', load).catch(() => undefined);
    await settleDown();
    const followed = [r1.run('k', load), r2.run('k', load)];
    await settleDown();
    network.lose(legs(0, 'request'));
    await clock.advance(3_600);
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v');
    await settleDown();
    expect(await fates(followed)).toEqual(['value v', 'value v']);
  });

  it('D10: a takeover from a leader that lives costs one load; its late settle changes nothing of the new flight', async () => {
    const { r0, r1, r2, coordinators, clock, settleDown } = start(3);
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    await settleDown();
    coordinators[0]?.deafen();
    await clock.advance(400);
    expect(load.runs).toHaveLength(2);
    const third = r2.run('k', load);
    await settleDown();
    load.runs[0]?.end('late');
    await settleDown();
    expect(await fates([led, third])).toEqual(['value late', 'pending']);
    load.runs[1]?.end('taken over');
    await settleDown();
    expect(await fates([followed, third])).toEqual(['value taken over', 'value taken over']);
    expect(load.runs).toHaveLength(2);
  });

  it('a leader that was paused for longer than its lease answers its own callers and changes nothing of the key', async () => {
    const { r0, r1, network, clock, settleDown, hub } = start(2);
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    const wakesUp = network.hold(legs(0, 'request'));
    await clock.advance(4_000);
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('late');
    wakesUp();
    await settleDown();
    expect(await fates([led])).toEqual(['value late']);
    expect(hub.keys().filter(({ table }) => table === 'L')).toHaveLength(1);
    load.runs[1]?.end('taken over');
    await settleDown();
    expect(await fates([followed])).toEqual(['value taken over']);
  });
});

describe('claims that come late', () => {
  it('D6, D7: a load begun without a reply never settles, and a claim that is executed later is given back', async () => {
    const { r0, r1, network, clock, settleDown, hub } = start(2);
    const load = manualLoader();
    const executeClaim = network.hold(legs(0, 'request', 'claim'));
    const degraded = r0.flight('k', load);
    await clock.advance(251);
    expect(load.runs).toHaveLength(1);
    const invalidated = r1.invalidate('k');
    await settleDown();
    await invalidated;
    executeClaim();
    await settleDown();
    const after = r1.run('k', load);
    await settleDown();
    load.runs[0]?.end('old');
    await settleDown();
    expect(await degraded).toMatchObject({ source: 'degraded', value: 'old' });
    expect(await fates([after])).toEqual(['pending']);
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([after])).toEqual(['value new']);
    expect(hub.operations.filter(({ op }) => op === 'settle')).toHaveLength(1);
  });

  it('D8: a lease that nobody needs any more is released at once, not left until it ends', async () => {
    const { r0, r1, network, settleDown, hub } = start(2);
    const load = manualLoader();
    const deliverReply = network.hold(legs(0, 'reply', 'claim'));
    const leaves = new AbortController();
    const left = Promise.allSettled([r0.run('k', load, { signal: leaves.signal })]);
    await settleDown();
    leaves.abort(new Error('gone'));
    await left;
    deliverReply();
    await settleDown();
    expect(hub.keys().filter(isWaiting)).toEqual([]);
    const next = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates([next])).toEqual(['value v']);
  });

  it('D14: a load without the coordinator ignores outcomes of others', async () => {
    const { r0, r1, network, clock, settleDown } = start(2);
    const load = manualLoader();
    void r0.run('k', load);
    await settleDown();
    const heal = network.lose(legs(1, 'reply', 'claim'));
    const degraded = r1.flight('k', load);
    await clock.advance(251);
    heal();
    load.runs[0]?.end('of the leader');
    await settleDown();
    load.runs[1]?.end('its own');
    await settleDown();
    expect(await degraded).toMatchObject({ source: 'degraded', value: 'its own' });
  });

  it('a reply that is older than the lease it grants is not acted upon: the claim is sent again', async () => {
    const { r0, network, clock, settleDown, hub } = start(1, { leaseMs: 100, commandTimeoutMs: 1_000 });
    const load = manualLoader();
    const deliver = network.hold(legs(0, 'reply', 'claim'));
    const call = r0.run('k', load);
    await clock.advance(450);
    deliver();
    await settleDown();
    expect(hub.operations.map(({ op }) => op)).toEqual(['claim', 'claim']);
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('v');
    expect(await call).toBe('v');
  });
});

describe('invalidations', () => {
  it('D5: a lost broadcast is healed by the next renewal of the leader', async () => {
    const { r0, r1, network, clock, settleDown } = start(2);
    const load = manualLoader();
    const before = r1.run('k', load);
    await settleDown();
    network.lose(legs(1, 'message', 'invalidated'));
    const invalidated = r0.invalidate('k');
    await settleDown();
    await invalidated;
    await clock.advance(1_001);
    const after = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([before, after])).toEqual(['value old', 'value new']);
  });

  it('D5: a lost broadcast is healed by the next recheck of a follower', async () => {
    const { r0, r1, r2, network, clock, settleDown } = start(3);
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const before = r1.run('k', load);
    await settleDown();
    network.lose(legs(1, 'message', 'invalidated'));
    const invalidated = r2.invalidate('k');
    await settleDown();
    await invalidated;
    await clock.advance(501);
    const after = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([led, before, after])).toEqual(['value old', 'value new', 'value new']);
  });

  it('D11: a failover that forgets an invalidation cannot bring an older flight back to a replica that saw it', async () => {
    const { r0, r1, hub, settleDown } = start(2);
    const load = manualLoader();
    const before = r0.run('k', load);
    await settleDown();
    const failOver = hub.checkpoint();
    const invalidated = r1.invalidate('k');
    await settleDown();
    await invalidated;
    failOver();
    const after = r1.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    await settleDown();
    expect(await fates([before, after])).toEqual(['value old', 'pending']);
    load.runs[1]?.end('new');
    await settleDown();
    expect(await fates([after])).toEqual(['value new']);
  });

  it('D16: a server that forgot everything hurts nobody who waits', async () => {
    const { r0, r1, hub, clock, settleDown } = start(2);
    const load = manualLoader();
    const led = r0.run('k', load);
    await settleDown();
    const followed = r1.run('k', load);
    await settleDown();
    hub.wipe();
    await clock.advance(600);
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('v0');
    load.runs[1]?.end('v1');
    await settleDown();
    expect(await fates([led, followed])).toEqual(['value v0', 'value v1']);
  });
});
