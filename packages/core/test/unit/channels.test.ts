import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createCollapser, type Replica } from '../../src/index.js';
import { memoryHub } from '../../src/testing/index.js';
import { cluster, legs } from '../support/cluster.js';
import { textOf } from '@oneflight/testkit';
import { fates, manualLoader } from '../support/loads.js';

/*
 * What subscribers of the channels really get, beside what docs/metrics.md says that they get. metrics-doc.test.ts compares
 * the page with the types.
 */
const documented = new Map<string, readonly string[]>();
const heard = new Map<string, object[]>();
const subscribers: (readonly [string, (message: unknown) => void])[] = [];

beforeEach(async () => {
  const page = await textOf('docs/metrics.md');
  const events = page.slice(page.indexOf('\n## Events'), page.indexOf('\n### Fields'));
  for (const [, type = '', fields = ''] of events.matchAll(/^\| `(\w+)` +\| ([^|]*)\|/gm)) {
    documented.set(
      `oneflight:${type}`,
      Array.from(fields.matchAll(/`(\w+)`/g), ([, field = '']) => field),
    );
  }
  for (const name of documented.keys()) {
    const hear = (message: unknown): void => void heard.set(name, [...(heard.get(name) ?? []), Object(message) as object]);
    subscribe(name, hear);
    subscribers.push([name, hear]);
  }
});

afterEach(() => {
  for (const [name, hear] of subscribers) unsubscribe(name, hear);
});

it('every documented channel is published on, with the documented fields and no others, frozen, and without key or value', async () => {
  await flightAndTrouble();
  await notCollapsed();
  await refusals();
  expect(documented.size).toBeGreaterThan(15);
  expect([...heard.keys()].toSorted()).toEqual([...documented.keys()].toSorted());
  for (const [name, messages] of heard) {
    const fields = ['collapser', 'type', ...(documented.get(name) ?? [])].toSorted();
    for (const message of messages) {
      expect([name, Object.keys(message).toSorted()]).toEqual([name, fields]);
      expect(message).toMatchObject({ type: name.slice('oneflight:'.length), collapser: expect.any(String) });
      expect(Object.isFrozen(message)).toBe(true);
      expect(JSON.stringify(message)).not.toContain('secret');
    }
  }
});

/** A flight over two replicas; then a leader that is cut off, an invalidation, a lost settle, a deaf replica, and an outage. */
async function flightAndTrouble(): Promise<void> {
  const { replicas, coordinators, network, hub, clock, settleDown, closeAll } = cluster(2);
  const [first, second] = replicas;
  const load = manualLoader();
  const calls = [first?.run('secret key', load)];
  await settleDown();
  calls.push(second?.run('secret key', load));
  await settleDown();
  load.runs[0]?.end('secret value');
  await settleDown();
  calls.push(first?.run('secret and late', load));
  await settleDown();
  calls.push(second?.run('secret and late', load));
  await settleDown();
  // Its renewals do not arrive until the other one has taken over.
  const wakesUp = network.hold(legs(0, 'request'));
  await clock.advance(4_000);
  wakesUp();
  await settleDown();
  load.runs[1]?.end('secret value');
  await settleDown();
  load.runs[2]?.end('secret value');
  await settleDown();
  calls.push(first?.run('secret and changed', load));
  await settleDown();
  await clock.advance(1);
  const invalidated = second?.invalidate('secret and changed');
  await clock.advance(1_000);
  await invalidated;
  load.runs[3]?.end('secret value');
  await settleDown();
  const stopLosing = network.lose(legs(0, 'request', 'settle'));
  calls.push(first?.run('secret and lost', () => 'secret value'));
  await clock.advance(5_000);
  stopLosing();
  coordinators[1]?.deafen();
  hub.outage(true);
  calls.push(first?.run('secret and alone', () => 'secret value'));
  await clock.advance(1_000);
  await Promise.all(calls);
  hub.outage(false);
  await settleDown();
  await closeAll();
}

/** A value that cannot travel, a key that is too long, and observe mode. */
async function notCollapsed(): Promise<void> {
  const { replicas, settleDown, closeAll } = cluster(1, {}, { limits: { keyBytesMax: 20 } });
  const calls = [replicas[0]?.run('secret', () => () => 1), replicas[0]?.run('a secret key that is too long', () => 1)];
  await settleDown();
  await Promise.all(calls);
  await closeAll();
  const observed = createCollapser({ mode: 'observe' });
  const load = manualLoader();
  const both = [observed.run('secret', load), observed.run('secret', load)];
  for (const run of load.runs) run.end('v');
  await fates(both);
  await Promise.all(both);
}

/** What a coordinator tells of its own accord. */
async function refusals(): Promise<void> {
  let receive: Replica['receive'] = () => {};
  const coordinator = memoryHub().coordinator();
  const collapser = createCollapser({
    coordinator: {
      clock: coordinator.clock,
      connect(replica) {
        receive = (message) => replica.receive(message);
        return coordinator.connect(replica);
      },
    },
  });
  receive({ kind: 'circuit', state: 'open' });
  receive({ kind: 'rejected', reason: 'bad_signature' });
  await collapser.close();
}
