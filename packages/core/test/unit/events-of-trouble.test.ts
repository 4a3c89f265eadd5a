import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type CollapserEvent } from '../../src/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(size: number): Cluster & { readonly heard: (replica: number, type: CollapserEvent['type']) => object[] } {
  current = cluster(size);
  const heard: [number, CollapserEvent][] = [];
  current.replicas.forEach((replica, index) => replica.listen((event) => heard.push([index, event])));
  return {
    ...current,
    heard: (replica, type) => heard.filter(([from, event]) => from === replica && event.type === type).map(([, e]) => e),
  };
}

afterEach(async () => {
  await current?.closeAll();
  current = undefined;
});

describe('events tell of trouble', () => {
  it('a load that ends after another replica has come to lead its key is a duplicate', async () => {
    const { replicas, network, clock, settleDown, heard } = start(2);
    const load = manualLoader();
    const led = replicas[0]?.run('k', load) ?? Promise.reject(new Error('no replica'));
    await settleDown();
    const followed = replicas[1]?.run('k', load) ?? Promise.reject(new Error('no replica'));
    const wakesUp = network.hold(legs(0, 'request'));
    await clock.advance(4_000);
    load.runs[0]?.end('late');
    wakesUp();
    await settleDown();
    load.runs[1]?.end('taken over');
    await settleDown();
    expect(await fates([led, followed])).toEqual(['value late', 'value taken over']);
    expect(heard(0, 'duplicate')).toHaveLength(1);
    expect(heard(1, 'duplicate')).toEqual([]);
  });

  it('a leader that finds its lease gone says so, and why: lost, or its key invalidated', async () => {
    const { replicas, coordinators, clock, settleDown, heard } = start(3);
    const load = manualLoader();
    const calls = [replicas[0]?.run('invalidated', load)];
    await settleDown();
    await clock.advance(1);
    const done = replicas[1]?.invalidate('invalidated');
    await settleDown();
    await done;
    await clock.advance(1_000);
    expect(heard(0, 'detached')).toMatchObject([{ why: 'invalidated' }]);
    calls.push(replicas[0]?.run('lost', load));
    await settleDown();
    calls.push(replicas[2]?.run('lost', load));
    await settleDown();
    coordinators[0]?.deafen();
    await clock.advance(1_200);
    expect(heard(0, 'detached')).toMatchObject([{ why: 'invalidated' }, { why: 'lease_lost' }]);
    for (const run of load.runs) run.end('v');
    await settleDown();
    await Promise.all(calls);
  });

  it('an outcome that the coordinator never acknowledges is lost', async () => {
    const { replicas, network, clock, settleDown, heard } = start(1);
    const stopLosing = network.lose(legs(0, 'request', 'settle'));
    expect(await fates([replicas[0]?.run('k', () => 'v') ?? Promise.resolve()])).toEqual(['pending']);
    await settleDown();
    await clock.advance(5_000);
    stopLosing();
    expect(heard(0, 'lost')).toMatchObject([{ what: 'settle' }]);
  });

  it('observe mode names each call that would not have loaded', async () => {
    const collapser = createCollapser({ mode: 'observe' });
    const heard: string[] = [];
    collapser.listen(({ type }) => heard.push(type));
    const load = manualLoader();
    const calls = [1, 2, 3].map(() => collapser.run('k', load));
    for (const run of load.runs) run.end('v');
    await Promise.all(calls);
    expect(heard.filter((type) => type === 'collapsible')).toHaveLength(2);
  });
});
