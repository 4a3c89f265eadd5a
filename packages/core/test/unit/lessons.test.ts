import { afterEach, describe, expect, it } from 'vitest';
import { cluster, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

/*
 * What those who built request collapsing inside one process before had to learn, each held here on two replicas.
 * Lessons 7 (once), 9 (caching) and 10 (watch) come with the features they are about.
 */
let current: Cluster | undefined;

function start(): Cluster {
  current = cluster(2);
  return current;
}

afterEach(async () => {
  await current?.closeAll();
  current = undefined;
});

describe('the lessons', () => {
  it('1: composite keys and "no key" queries collapse too', async () => {
    const { replicas, settleDown } = start();
    const load = manualLoader();
    for (const replica of replicas) {
      void replica.run(['vm', 'eu-1', 'small'], load);
      void replica.run(['vms'], load);
      void replica.run({ type: 'small', prefix: 'eu-1' }, load);
      void replica.run({ prefix: 'eu-1', type: 'small' }, load);
    }
    await settleDown();
    expect(load.runs.map(({ context }) => context.key)).toEqual([['vm', 'eu-1', 'small'], ['vms'], { type: 'small', prefix: 'eu-1' }]);
    for (const run of load.runs) run.end('v');
  });

  it('2: a waiter that times out or goes away never cancels the shared load for the others', async () => {
    const { replicas, settleDown, clock } = start();
    const load = manualLoader();
    const leaves = new AbortController();
    const impatient = Promise.allSettled(replicas.map((replica) => replica.run('k', load, { timeoutMs: 100 })));
    const leaving = Promise.allSettled(replicas.map((replica) => replica.run('k', load, { signal: leaves.signal })));
    const staying = replicas.map((replica) => replica.run('k', load));
    await settleDown();
    leaves.abort(new Error('gone'));
    await clock.advance(101);
    expect((await Promise.all([impatient, leaving])).flat().map(({ status }) => status)).toEqual(Array(4).fill('rejected'));
    expect(load.runs[0]?.context.signal.aborted).toBe(false);
    load.runs[0]?.end('v');
    await settleDown();
    expect(await fates(staying)).toEqual(['value v', 'value v']);
    expect(load.runs).toHaveLength(1);
  });

  it("3: nothing queues: a thousand slow keys do not delay another, and the load runs in the caller's own context", async () => {
    const { AsyncLocalStorage } = await import('node:async_hooks');
    const { replicas, settleDown } = start();
    const slow = manualLoader();
    for (let key = 0; key < 1_000; key++) void replicas[0]?.run(['slow', key], slow);
    const request = new AsyncLocalStorage<string>();
    const seen = request.run('request 7', () => replicas[0]?.run('quick', async () => request.getStore()));
    await settleDown();
    expect(await fates([seen ?? Promise.resolve()])).toEqual(['value request 7']);
    expect(slow.runs).toHaveLength(1_000);
    for (const run of slow.runs) run.end('v');
  });

  it.each([
    ['on success', () => 'v'],
    ['on an error', () => Promise.reject(new Error('failed'))],
    [
      'on a loader that throws synchronously',
      () => {
        throw new Error('failed');
      },
    ],
    ['on a loader that never ends', () => new Promise<string>(() => undefined)],
  ])('4: the in-flight entry is always removed: %s', async (_, load) => {
    const { replicas, clock } = start();
    const calls = Promise.allSettled(replicas.map((replica) => replica.run('k', load, { loadTimeoutMs: 1_000 })));
    await clock.advance(1_100);
    await calls;
    for (const replica of replicas) expect(replica.stats()).toMatchObject({ flights: 0, joinable: 0, waiters: 0, loading: 0 });
    const next = replicas.map((replica) => replica.run('k', () => 'next'));
    await clock.advance(0);
    expect(await fates(next)).toEqual(['value next', 'value next']);
  });

  it("5: a result that one caller shuffles, sorts or decorates does not corrupt the others', where isolation is asked for", async () => {
    const { replicas, settleDown } = start();
    const load = manualLoader<number[]>();
    const calls = replicas.flatMap((replica) => [1, 2].map(() => replica.run('k', load, { isolate: 'clone' })));
    await settleDown();
    load.runs[0]?.end([3, 1, 2]);
    await settleDown();
    for (const call of calls) {
      const list = await call;
      expect(list).toEqual([3, 1, 2]);
      list.sort().push(99);
    }
  });

  it("6: a change that happens while a load is running is not hidden by that load's result", async () => {
    const { replicas, settleDown } = start();
    let likes = 1;
    const release: (() => void)[] = [];
    const load = async (): Promise<number> => {
      const read = likes;
      await new Promise<void>((resolve) => release.push(resolve));
      return read;
    };
    const before = replicas.map((replica) => replica.run('likes', load));
    await settleDown();
    likes = 2;
    const invalidated = replicas[1]?.invalidate('likes');
    await settleDown();
    await invalidated;
    const after = replicas.map((replica) => replica.run('likes', load));
    await settleDown();
    for (const go of release) go();
    await settleDown();
    expect(await fates([...before, ...after])).toEqual(['value 1', 'value 1', 'value 2', 'value 2']);
  });

  it('8: when Redis is down requests go on, collapsed per process, without waiting for time-outs on each', async () => {
    const { replicas, settleDown, hub } = start();
    hub.outage(true);
    const load = manualLoader();
    const calls = replicas.flatMap((replica) => Array.from({ length: 10 }, () => replica.run('k', load)));
    await settleDown();
    expect(load.runs).toHaveLength(2);
    for (const run of load.runs) run.end('v');
    await settleDown();
    expect(await fates(calls)).toEqual(Array(20).fill('value v'));
    hub.outage(false);
  });
});
