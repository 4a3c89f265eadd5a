import { type Collapser, createCollapser } from '@oneflight/core';
import { startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { redisCoordinator } from '../../src/index.js';
import { ms, SCALE } from '../support/stage.js';

/*
 * Somebody else writes to a replica's inbox: noise, cut or changed messages, old ones once more, outcomes of other keys
 * and flights. They enter where ioredis hands over what it received, so everything behind it is the product; some
 * thousands are really published. Nobody here knows what a forger would have to know: the key's hash, the id and the
 * token of a flight that is under way, all three. docs/operations.md says what one who does can do without `secret`.
 */
const PAYLOAD_BYTES_MAX = 2_000;

let server: TestServer;
let spy: Redis;
let leader: Collapser;
let follower: Collapser;
/** The follower's connection for messages. */
let ears: Redis;
let inbox: string;
/** Genuine messages for flights that are over. */
const genuine: Buffer[] = [];
const reasons = new Map<string, number>();

beforeAll(async () => {
  server = await startRedis();
  spy = new Redis(server.url);
  const connections: Redis[] = [];
  leader = collapserOn(() => new Redis(server.url, { lazyConnect: true }));
  await leader.run('open', () => 0);
  const [leadersInbox] = await inboxes();
  follower = collapserOn(() => template(server.url, connections));
  follower.listen((event) => {
    if (event.type === 'rejected') reasons.set(event.reason, (reasons.get(event.reason) ?? 0) + 1);
  });
  await follower.run('open', () => 0);
  inbox = (await inboxes()).find((name) => name !== leadersInbox) ?? '';
  ears = connections.find((connection) => connection.listenerCount('messageBuffer') > 0) ?? spy;
  expect(ears).not.toBe(spy);
  ears.on('messageBuffer', (channel: Buffer, data: Buffer) => {
    if (channel.toString() === inbox && genuine.length < 5) genuine.push(Buffer.from(data));
  });
  for (let flight = 0; flight < 5; flight++) expect(await (await begin(`old ${flight}`)).finish()).toBe(`old ${flight}`);
  expect(genuine).toHaveLength(5);
});

afterAll(async () => {
  await Promise.all([leader.close(), follower.close()]);
  spy.disconnect();
  await server.stop();
});

it(
  '1,000,000 messages that are noise, cut, changed, old, or of other flights answer nobody, and break nothing',
  { timeout: 120_000 * SCALE },
  async () => {
    const flight = await begin('the value');
    const startedAt = performance.now();
    const makers = forgeries(flight.sequence);
    let sent = 0;
    for (const { what, count, make, refused } of makers) {
      const before = follower.stats().totals.rejectedMessages;
      await enter(count * SCALE, make);
      sent += count * SCALE;
      const counted = follower.stats().totals.rejectedMessages - before;
      if (refused) expect({ what, counted: counted >= count * SCALE }).toEqual({ what, counted: true });
      expect({ what, waiting: follower.stats().waiters }).toEqual({ what, waiting: 3 });
    }
    const tookMs = performance.now() - startedAt;
    expect(sent).toBe(1_000_000 * SCALE);
    console.log(
      `${sent} forged messages in ${ms(tookMs)}: none accepted; refused by reason ${JSON.stringify(Object.fromEntries(reasons))}`,
    );
    expect(await flight.finish()).toBe('the value');
  },
);

it('5,000 of them that are really published answer nobody either', async () => {
  const flight = await begin('the value');
  // Those of a megabyte would overflow the subscriber's buffer in the server, which is another test.
  const makers = forgeries(flight.sequence).filter(({ what }) => what !== 'a header without end');
  let heard = 0;
  ears.on('messageBuffer', () => heard++);
  const pipeline = spy.pipeline();
  for (let each = 0; each < 5_000; each++) pipeline.publish(inbox, makers[each % makers.length]?.make() ?? Buffer.alloc(0));
  await pipeline.exec();
  await waitFor(() => heard >= 5_000, { what: 'the messages to arrive' });
  expect(follower.stats()).toMatchObject({ waiters: 3, flights: 1 });
  expect(await flight.finish()).toBe('the value');
});

interface Forgery {
  readonly what: string;
  readonly count: number;
  readonly make: () => Buffer;
  /** Each one of them has to be counted as rejected; others may also fit nobody, which is what late messages do. */
  readonly refused: boolean;
}

/** `sequence` names the follower's flight that is under way. */
function forgeries(sequence: string): readonly Forgery[] {
  const random = Math.random;
  const one = (): Buffer => genuine[Math.floor(random() * genuine.length)] ?? Buffer.alloc(0);
  const header = (message: Buffer): string => message.toString('latin1', 0, message.indexOf('\n'));
  const body = (message: Buffer): Buffer => message.subarray(message.indexOf('\n') + 1);
  const headed = (fields: readonly string[], rest: Buffer): Buffer => Buffer.concat([Buffer.from(`${fields.join(' ')}\n`, 'latin1'), rest]);
  /** Changes fields of the header: version, kind, key, token, ids. */
  const changed = (message: Buffer, changes: Record<number, string>): Buffer =>
    headed(
      header(message)
        .split(' ')
        .map((field, index) => changes[index] ?? field),
      body(message),
    );
  const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
  return [
    { what: 'noise', count: 450_000, refused: true, make: () => Buffer.concat([Buffer.from([0xff]), bytes(Math.floor(random() * 24))]) },
    { what: 'cut', count: 200_000, refused: true, make: () => cutAt(one(), random) },
    { what: 'another version', count: 99_000, refused: true, make: () => changed(one(), { 0: String(2 + Math.floor(random() * 900)) }) },
    { what: 'one byte changed', count: 150_000, refused: false, make: () => withOneByteChanged(one(), random) },
    { what: 'sent again', count: 97_900, refused: false, make: one },
    { what: 'of another key', count: 1_000, refused: true, make: () => changed(one(), { 2: 'x'.repeat(43), 4: sequence }) },
    { what: 'of an earlier flight', count: 1_000, refused: false, make: () => changed(one(), { 4: sequence }) },
    { what: 'too large', count: 1_000, refused: true, make: () => Buffer.concat([one(), Buffer.alloc(2 * PAYLOAD_BYTES_MAX)]) },
    { what: 'a header without end', count: 100, refused: true, make: () => Buffer.alloc(1_100_000, '1') },
  ];
}

/** Somewhere in the header: a frame that is cut is a shorter frame, which only its signature can tell. */
function cutAt(message: Buffer, random: () => number): Buffer {
  return message.subarray(0, Math.floor(random() * message.indexOf('\n')));
}

function withOneByteChanged(message: Buffer, random: () => number): Buffer {
  const copy = Buffer.from(message);
  copy[Math.floor(random() * copy.length)] = Math.floor(random() * 256);
  return copy;
}

/** In portions, so that what a message sets off runs in between. */
async function enter(count: number, make: () => Buffer): Promise<void> {
  const channel = Buffer.from(inbox);
  for (let sent = 0; sent < count; sent++) {
    ears.emit('messageBuffer', channel, make());
    if (sent % 5_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A flight that is under way: the leader loads, three callers wait at the follower. `finish` gives what they all got. */
async function begin(value: string): Promise<{ readonly sequence: string; finish(): Promise<unknown> }> {
  let letLoadFinish = (): void => {};
  const loadEnd = new Promise<void>((resolve) => (letLoadFinish = resolve));
  let loadStarted = (): void => {};
  const started = new Promise<void>((resolve) => (loadStarted = resolve));
  const own = leader.run('k', async () => {
    loadStarted();
    await loadEnd;
    return value;
  });
  await started;
  const answers = [1, 2, 3].map(() => follower.run('k', () => 'loaded by the follower'));
  const id = await waitFor(async () => {
    const [name] = await spy.keys('*:w');
    return name === undefined ? '' : ((await spy.hkeys(name))[0] ?? '');
  });
  return {
    sequence: id.split('#')[1] ?? '',
    async finish() {
      letLoadFinish();
      const got = new Set([...(await Promise.all(answers)), await own]);
      return got.size === 1 ? [...got][0] : [...got];
    },
  };
}

function collapserOn(redis: () => Redis): Collapser {
  const patient = { leaseMs: 600_000, recheckMs: 300_000, retainMs: 700_000, commandTimeoutMs: 60_000, payloadBytesMax: PAYLOAD_BYTES_MAX };
  return createCollapser({ name: 'forged', coordinator: redisCoordinator({ redis, ...patient }) });
}

/** A client that tells which connections were made of it. */
function template(url: string, connections: Redis[]): Redis {
  const client = new Redis(url, { lazyConnect: true });
  const duplicate = client.duplicate.bind(client);
  client.duplicate = (overrides?: Partial<RedisOptions>): Redis => {
    const copy = duplicate(overrides);
    connections.push(copy);
    return copy;
  };
  return client;
}

async function inboxes(): Promise<string[]> {
  return (await spy.pubsub('CHANNELS', '*:i:*')) as string[];
}
