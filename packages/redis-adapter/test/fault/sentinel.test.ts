import { startSentinel, type TestSentinel, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { answers, Crew } from '../support/crew.js';

const REPLICAS = 3;
const CALLS = REPLICAS * 5;

let servers: TestSentinel;
let crew: Crew;

beforeEach(async () => {
  servers = await startSentinel();
  crew = new Crew(REPLICAS, () => {
    const redis = new Redis({ sentinels: [...servers.sentinels], name: servers.name, lazyConnect: true });
    return redisCoordinator({ redis });
  });
});

afterEach(async () => {
  await crew.close();
  await servers.stop();
});

test('a master that is killed in mid-load costs at most one load per process, and collapsing goes on without a restart', async () => {
  crew.hold();
  const answered = crew.burst('seats');
  await crew.loadStarted;
  const old = await servers.master();
  await old.kill9();
  await waitFor(async () => (await servers.master()) !== old, {
    timeoutMs: 30_000,
    everyMs: 50,
    what: 'the sentinels to agree on another master',
  });
  crew.letLoadsFinish();
  const results = await answered;
  expect([results.length, answers(results)]).toEqual([CALLS, ['value of seats']]);
  expect(crew.loadsOf('seats')).toBeLessThanOrEqual(REPLICAS);
  let round = 0;
  const isOneLoad = async (): Promise<boolean> => {
    round += 1;
    expect(answers(await crew.burst(`after ${round}`))).toEqual([`value of after ${round}`]);
    return crew.loadsOf(`after ${round}`) === 1;
  };
  await waitFor(isOneLoad, { timeoutMs: 30_000, everyMs: 100, what: 'calls to be collapsed again' });
});
