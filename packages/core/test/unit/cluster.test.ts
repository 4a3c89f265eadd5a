import { afterEach, describe, expect, it } from 'vitest';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster {
  current = cluster(...args);
  return current;
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) expect(current.clock.pending, 'timers left after close').toBe(0);
  current = undefined;
});

describe('replicas that share a coordinator', () => {
  it('answer equal calls of the same moment by one load in the whole cluster', async () => {
    const { replicas, settleDown, hub } = start(4);
    const load = manualLoader();
    const calls = replicas.flatMap((replica) => Array.from({ length: 25 }, () => replica.flight('k', load)));
    await settleDown();
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('v');
    await settleDown();
    const results = await Promise.all(calls);
    expect(new Set(results.map(({ value }) => value))).toEqual(new Set(['v']));
    const bySource = (source: string) => results.filter((result) => result.source === source).length;
    expect([bySource('leader'), bySource('remote'), bySource('local')]).toEqual([1, 3, 96]);
    expect(hub.operations.map(({ op }) => op)).toEqual(['claim', 'claim', 'claim', 'claim', 'settle']);
  });

  it('never wait for an unrelated key', async () => {
    const { replicas, settleDown } = start(2);
    const slow = manualLoader();
    void replicas[0]?.run('slow', slow).catch(() => undefined);
    await settleDown();
    const quick = replicas.map((replica) => replica.run('quick', () => 'done'));
    await settleDown();
    expect(await Promise.all(quick)).toEqual(['done', 'done']);
    slow.runs[0]?.end('v');
  });

  it('share an error with its name, message, code and status', async () => {
    const { replicas, settleDown } = start(3);
    const load = manualLoader();
    const calls = replicas.map((replica) => replica.run('k', load));
    const ends = Promise.allSettled(calls);
    await settleDown();
    load.runs[0]?.fail(Object.assign(new RangeError('no such seat'), { code: 'SEAT_GONE', status: 410 }));
    await settleDown();
    const told = (await ends).map(
      (end) =>
        end.status === 'rejected' && {
          name: end.reason.name,
          message: end.reason.message,
          code: end.reason.code,
          status: end.reason.status,
        },
    );
    expect(told).toEqual(
      Array.from({ length: 3 }, () => ({ name: 'RangeError', message: 'no such seat', code: 'SEAT_GONE', status: 410 })),
    );
  });

  it('let one waiter at a time take over when an error is not shared, three loads at most', async () => {
    const { replicas, settleDown } = start(5);
    let loads = 0;
    const load = async () => {
      loads++;
      throw new Error(`failure ${loads}`);
    };
    const ends = Promise.allSettled(replicas.flatMap((replica) => [1, 2, 3].map(() => replica.run('k', load, { shareErrors: false }))));
    await settleDown();
    expect((await ends).map((end) => end.status)).toEqual(Array(15).fill('rejected'));
    expect(loads).toBe(3);
  });

  it('let the other replicas load for themselves at once when a value cannot travel, and say so once', async () => {
    const warnings: unknown[] = [];
    const note = (warning: Error): void => void warnings.push(Reflect.get(warning, 'code'));
    process.on('warning', note);
    const { replicas, settleDown } = start(3);
    const load = manualLoader<() => number>();
    const calls = replicas.flatMap((replica) => [replica.flight('k', load), replica.flight('k', load)]);
    await settleDown();
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end(() => 1);
    await settleDown();
    expect(load.runs).toHaveLength(3);
    for (const run of load.runs) run.end(() => 2);
    await settleDown();
    const results = await Promise.all(calls);
    process.off('warning', note);
    expect(warnings).toEqual(['ONEFLIGHT_UNTRAVELABLE']);
    expect(replicas.map((replica) => replica.stats().totals.untravelable)).toEqual([1, 0, 0]);
    expect(results.map(({ source, value }) => `${source} ${value()}`)).toEqual([
      'leader 1',
      'local 1',
      'bypass 2',
      'local 2',
      'bypass 2',
      'local 2',
    ]);
  });

  it('let every other caller go at once when a loader says its answer is unshareable', async () => {
    const { replicas, settleDown } = start(2);
    const load = manualLoader();
    const calls = replicas.flatMap((replica) => Array.from({ length: 2 }, () => replica.flight('k', load, { mayBePrivate: true })));
    await settleDown();
    load.runs[0]?.context.unshareable();
    await settleDown();
    expect(load.runs).toHaveLength(4);
    for (const [index, run] of load.runs.entries()) run.end(`answer ${index}`);
    await settleDown();
    expect(new Set((await Promise.all(calls)).map(({ value }) => value)).size).toBe(4);
  });

  it('abort a private load when the only caller it is for has left, whoever else still loads', async () => {
    const { replicas, settleDown } = start(1);
    const load = manualLoader();
    const leaves = new AbortController();
    const first = Promise.allSettled([replicas[0]?.run('k', load, { signal: leaves.signal, mayBePrivate: true })]);
    const second = replicas[0]?.run('k', load);
    await settleDown();
    load.runs[0]?.context.unshareable();
    leaves.abort(new Error('gone'));
    await first;
    expect(load.runs.map(({ context }) => context.signal.aborted)).toEqual([true, false]);
    load.runs[1]?.end('v');
    expect(await second).toBe('v');
  });

  it('hand a value that is too large for a message to those who wait, by one fetch each', async () => {
    const { replicas, settleDown, hub } = start(3, { inlineBytesMax: 10 });
    const load = manualLoader();
    const calls = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    load.runs[0]?.end('a value of more than ten bytes');
    await settleDown();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['a value of more than ten bytes']));
    expect(hub.operations.filter(({ op }) => op === 'claim')).toHaveLength(5);
    expect(load.runs).toHaveLength(1);
  });

  it("abort the loader's signal when nobody on any replica waits any more, not before", async () => {
    const { replicas, settleDown, clock } = start(2);
    const load = manualLoader();
    const ends = Promise.allSettled([replicas[0]?.run('k', load, { timeoutMs: 100 }), replicas[1]?.run('k', load, { timeoutMs: 1_500 })]);
    await settleDown();
    const signal = load.runs[0]?.context.signal;
    await clock.advance(1_000);
    expect(signal?.aborted).toBe(false);
    await clock.advance(3_000);
    expect(signal?.aborted).toBe(true);
    expect((await ends).map((end) => end.status)).toEqual(['rejected', 'rejected']);
    expect(replicas.map((replica) => replica.stats().flights)).toEqual([0, 0]);
  });

  it("answer the others although the leader's own caller has left", async () => {
    const { replicas, settleDown, clock } = start(2);
    const load = manualLoader();
    const left = replicas[0]?.run('k', load, { timeoutMs: 100 });
    const leftEnd = Promise.allSettled([left]);
    await settleDown();
    const waits = replicas[1]?.run('k', load);
    await clock.advance(200);
    await leftEnd;
    load.runs[0]?.end('v');
    await settleDown();
    expect(await waits).toBe('v');
    expect(load.runs).toHaveLength(1);
  });

  it('keep the lease of a load that takes much longer than a lease', async () => {
    const { replicas, settleDown, clock } = start(2);
    const load = manualLoader();
    const calls = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    await clock.advance(20_000);
    expect(load.runs).toHaveLength(1);
    load.runs[0]?.end('v');
    await settleDown();
    expect(await Promise.all(calls)).toEqual(['v', 'v']);
  });

  it('leave no key without expiry, and none at all once the retention is over', async () => {
    const { replicas, settleDown, clock, hub } = start(3);
    const load = manualLoader();
    const calls = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    load.runs[0]?.end('v');
    await Promise.all(calls);
    await settleDown();
    expect(hub.keys().every(({ expiresInMs }) => expiresInMs > 0)).toBe(true);
    await clock.advance(10_001);
    expect(hub.keys()).toEqual([]);
    expect(replicas.map(({ stats }) => stats)).toHaveLength(3);
  });

  it('hand over at close: a follower takes over at once', async () => {
    const { replicas, settleDown, clock } = start(2);
    const load = manualLoader();
    const own = replicas[0]?.run('k', load);
    const ownEnd = Promise.allSettled([own]);
    await settleDown();
    const other = replicas[1]?.run('k', load);
    await settleDown();
    void replicas[0]?.close({ drainMs: 50 });
    await clock.advance(60);
    expect((await ownEnd).map((end) => end.status)).toEqual(['rejected']);
    expect(load.runs).toHaveLength(2);
    load.runs[1]?.end('v');
    await settleDown();
    expect(await other).toBe('v');
  });
});

describe('invalidate', () => {
  it('keeps a running load from callers that come after, on the same replica and on others, and still answers its own', async () => {
    const { replicas, settleDown } = start(3);
    const load = manualLoader();
    const before = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    const invalidated = replicas[1]?.invalidate('k');
    await settleDown();
    await invalidated;
    const after = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    await settleDown();
    expect(await Promise.all(before)).toEqual(['old', 'old', 'old']);
    load.runs[1]?.end('new');
    await settleDown();
    expect(await Promise.all(after)).toEqual(['new', 'new', 'new']);
  });

  it('says when the other replicas could not be told, and holds here all the same', async () => {
    const { replicas, settleDown, hub, clock } = start(2);
    const load = manualLoader();
    const before = replicas[0]?.run('k', load);
    await settleDown();
    hub.outage(true);
    await expect(replicas[0]?.invalidate('k')).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_COORDINATOR' });
    const after = replicas[0]?.run('k', load);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await clock.advance(2_000);
    expect([await before, await after]).toEqual(['old', 'new']);
    hub.outage(false);
  });
});

describe('an invalidation that was lost', () => {
  it('is sent before the key is asked for again, so that no older flight answers a later call', async () => {
    const { replicas, settleDown, network, clock } = start(2);
    const load = manualLoader();
    const before = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    const heal = network.lose(legs(0, 'request', 'invalidate'));
    const invalidated = Promise.allSettled([replicas[0]?.invalidate('k')]);
    await clock.advance(600);
    expect((await invalidated)[0]).toMatchObject({ status: 'rejected', reason: { code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'timeout' } });
    heal();
    const after = replicas.map((replica, index) => (index === 0 ? replica.run('k', load) : undefined));
    await settleDown();
    expect(load.runs).toHaveLength(2);
    const elsewhere = replicas[1]?.run('k', load);
    await settleDown();
    load.runs[0]?.end('old');
    load.runs[1]?.end('new');
    await settleDown();
    expect(await Promise.all([before[0], after[0], elsewhere])).toEqual(['old', 'new', 'new']);
    await before[1];
  });

  it('makes its replica load without the coordinator while it cannot be sent', async () => {
    const { replicas, settleDown, network, clock } = start(1);
    const heal = network.lose(legs(0, 'request', 'invalidate'));
    const invalidated = Promise.allSettled([replicas[0]?.invalidate('k')]);
    await clock.advance(600);
    await invalidated;
    const degraded = replicas[0]?.flight('k', () => 'v');
    await clock.advance(600);
    expect(await degraded).toMatchObject({ source: 'degraded' });
    heal();
    const well = replicas[0]?.flight('k', () => 'v');
    await settleDown();
    expect(await well).toMatchObject({ source: 'leader' });
  });
});

describe('a coordinator that is out of reach', () => {
  it("rejects also a caller with whenDegraded: 'reject' that comes while a load without it runs", async () => {
    const { replicas, settleDown, hub } = start(1);
    hub.outage(true);
    const load = manualLoader();
    const loading = replicas[0]?.run('k', load);
    await settleDown();
    const strict = Promise.allSettled([replicas[0]?.run('k', load, { whenDegraded: 'reject' })]);
    expect(await strict).toMatchObject([{ status: 'rejected', reason: { code: 'ERR_ONEFLIGHT_COORDINATOR' } }]);
    load.runs[0]?.end('v');
    expect(await loading).toBe('v');
    hub.outage(false);
  });

  it('leaves no waiter behind at the coordinator that a replica which gave up had registered', async () => {
    const { replicas, settleDown, hub, network, clock } = start(2);
    const load = manualLoader();
    const led = replicas[0]?.run('k', load);
    await settleDown();
    const followed = replicas[1]?.run('k', load);
    await settleDown();
    const heal = network.lose(legs(1, 'request', 'claim'));
    await clock.advance(1_000);
    expect(load.runs).toHaveLength(2);
    heal();
    load.runs[1]?.end('own');
    await settleDown();
    expect(await followed).toBe('own');
    expect(hub.keys().filter(({ table }) => table === 'W')).toEqual([]);
    load.runs[0]?.end('v');
    expect(await led).toBe('v');
  });

  it('makes no call fail or wait: each process collapses on its own', async () => {
    const { replicas, settleDown, hub } = start(2);
    hub.outage(true);
    const load = manualLoader();
    const calls = replicas.flatMap((replica) => [replica.flight('k', load), replica.flight('k', load)]);
    await settleDown();
    expect(load.runs).toHaveLength(2);
    for (const run of load.runs) run.end('v');
    const results = await Promise.all(calls);
    expect(results.map(({ source }) => source)).toEqual(['degraded', 'local', 'degraded', 'local']);
    hub.outage(false);
  });

  it("rejects at once with whenDegraded: 'reject'", async () => {
    const { replicas, settleDown, hub } = start(1);
    hub.outage(true);
    const call = replicas[0]?.run('k', () => 'v', { whenDegraded: 'reject' });
    const ended = Promise.allSettled([call]);
    await settleDown();
    expect(await ended).toMatchObject([{ status: 'rejected', reason: { code: 'ERR_ONEFLIGHT_COORDINATOR', reason: 'unavailable' } }]);
    hub.outage(false);
  });

  it('that never answers delays a call by commandTimeoutMs at most', async () => {
    const { replicas, clock, network } = start(1);
    const heal = network.lose(() => true);
    const call = replicas[0]?.flight('k', () => 'v');
    await clock.advance(251);
    expect(await call).toMatchObject({ value: 'v', source: 'degraded' });
    heal();
  });

  it('is said once, by a process warning', async () => {
    const warnings: unknown[] = [];
    const note = (warning: Error): void => void warnings.push(Reflect.get(warning, 'code'));
    process.on('warning', note);
    const { replicas, settleDown, hub } = start(1);
    hub.outage(true);
    for (const key of ['a', 'b', 'c']) await replicas[0]?.run(key, () => 1);
    await settleDown();
    process.off('warning', note);
    expect(warnings).toEqual(['ONEFLIGHT_DEGRADED']);
    expect(replicas[0]?.stats().degraded).toBe(true);
    hub.outage(false);
    await replicas[0]?.run('d', () => 1);
    expect(replicas[0]?.stats().degraded).toBe(false);
  });
});
