import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from 'vitest';
import {
  channelName,
  createCollapser,
  type CollapserEvent,
  type Coordinator,
  type CoordinatorLink,
  type PublishedEvent,
  type Replica,
} from '../../src/index.js';
import { ManualClock, memoryCodec } from '../../src/testing/index.js';
import { cluster } from '../support/cluster.js';
import { manualLoader } from '../support/loads.js';

describe('events', () => {
  it('tell what each replica did for a flight, call by call, and never a key or a value', async () => {
    const { replicas, settleDown, closeAll } = cluster(2);
    const heard: [number, CollapserEvent][] = [];
    replicas.forEach((replica, index) => replica.listen((event) => heard.push([index, event])));
    const load = manualLoader();
    const calls = replicas.flatMap((replica) => [1, 2].map(() => replica.run('secret key', load)));
    await settleDown();
    load.runs[0]?.end('secret value');
    await settleDown();
    await Promise.all(calls);
    const told = (replica: number): string[] => heard.filter(([index]) => index === replica).map(([, event]) => summary(event));
    expect(told(0)).toEqual(['operation claim', 'election won', 'load ok 1', 'call leader', 'call local', 'settle', 'operation settle']);
    expect(told(1)).toEqual(['operation claim', 'election lost', 'received value', 'call remote', 'call local']);
    expect(JSON.stringify(heard)).not.toContain('secret');
    await closeAll();
  });

  it('are published on diagnostics channels with the name of their collapser, frozen', async () => {
    const heard: unknown[] = [];
    const listener = (message: unknown): void => void heard.push(message);
    subscribe(channelName('call'), listener);
    await createCollapser({ name: 'api' }).run('k', () => 1);
    unsubscribe(channelName('call'), listener);
    await createCollapser({ name: 'api' }).run('k', () => 1);
    expect(heard).toMatchObject([{ collapser: 'api', type: 'call', outcome: 'leader' } satisfies Partial<PublishedEvent>]);
    expect(heard.every(Object.isFrozen)).toBe(true);
    expect(channelName('call')).toBe('oneflight:call');
  });

  it('say why a call was not collapsed, and that a load was cut short', async () => {
    const collapser = createCollapser({ limits: { keyBytesMax: 3 } });
    const heard: string[] = [];
    const stop = collapser.listen((event) => heard.push(summary(event)));
    await collapser.run('too long', () => 1);
    await collapser.run('k', () => new Promise(() => undefined), { loadTimeoutMs: 5 }).catch(() => undefined);
    await collapser.run('k', () => new Promise(() => undefined), { timeoutMs: 5 }).catch(() => undefined);
    await new Promise(setImmediate);
    stop();
    await collapser.run('k', () => 1);
    expect(heard).toEqual([
      'bypass key_too_long',
      'load ok 0',
      'call bypass',
      'load timeout 0',
      'call error',
      'call timeout',
      'load aborted 0',
    ]);
  });

  it("tell of the coordinator's circuit breaker, which is no sign of life from the coordinator", async () => {
    const clock = new ManualClock();
    let receive: Replica['receive'] = () => {};
    const coordinator: Coordinator = {
      clock,
      connect(replica) {
        receive = (message) => replica.receive(message);
        return silentLink();
      },
    };
    const collapser = createCollapser({ coordinator });
    const heard: string[] = [];
    collapser.listen((event) => heard.push(summary(event)));
    const call = collapser.flight('k', () => 1);
    await clock.advance(200);
    receive({ kind: 'circuit', state: 'open' });
    // The silence that began 200 ms ago goes on.
    await clock.advance(60);
    expect(await call).toMatchObject({ source: 'degraded' });
    expect(heard).toContain('circuit open');
  });

  it('that a listener fails on are a warning, never the failure of a call', async () => {
    const collapser = createCollapser();
    const warnings: unknown[] = [];
    const note = (warning: Error): void => void warnings.push(Reflect.get(warning, 'code'));
    process.on('warning', note);
    collapser.listen(({ type }) => {
      if (type === 'call') throw new Error('a bug in a listener');
    });
    expect(await collapser.run('k', () => 1)).toBe(1);
    await new Promise(setImmediate);
    process.off('warning', note);
    expect(warnings).toEqual(['ONEFLIGHT_LISTENER']);
  });

  it('need a listener that is a function', () => {
    expect(() => createCollapser().listen(1 as never)).toThrow(
      expect.objectContaining({ code: 'ERR_ONEFLIGHT_OPTION', message: 'expected a listener: a function of an event, got the number 1' }),
    );
  });
});

function summary(event: CollapserEvent): string {
  switch (event.type) {
    case 'call':
      return `call ${event.outcome}`;
    case 'load':
      return `load ${event.result} ${event.followers}`;
    case 'election':
      return `election ${event.result}`;
    case 'received':
      return `received ${event.result}`;
    case 'operation':
      return `operation ${event.operation}`;
    case 'bypass':
      return `bypass ${event.reason}`;
    case 'circuit':
      return `circuit ${event.state}`;
    default:
      return event.type;
  }
}

/** A link to a coordinator that answers nothing. */
function silentLink(): CoordinatorLink {
  const never = <T>(): Promise<T> => new Promise(() => {});
  return {
    inbox: 'silent',
    timings: { leaseMs: 3_000, recheckMs: 500, commandTimeoutMs: 250, retainMs: 10_000 },
    codec: memoryCodec,
    claim: never,
    renew: never,
    settle: never,
    release: never,
    invalidate: never,
    close: () => Promise.resolve(),
  };
}
