import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { createCollapser, type BatchContext, type Collapser } from '../../src/index.js';
import { cluster, legs, type Cluster } from '../support/cluster.js';
import { fates, manualLoader } from '../support/loads.js';

let current: Cluster | undefined;

function start(...args: Parameters<typeof cluster>): Cluster & { readonly r0: Collapser; readonly r1: Collapser } {
  current = cluster(...args);
  const [r0, r1 = r0] = current.replicas;
  if (r0 === undefined || r1 === undefined) throw new Error('no replica');
  return { ...current, r0, r1 };
}

afterEach(async () => {
  await current?.closeAll();
  if (current !== undefined) {
    expect(current.clock.pending, 'timers left after close').toBe(0);
    for (const replica of current.replicas) expect(replica.stats()).toMatchObject({ flights: 0, joinable: 0, waiters: 0, loading: 0 });
  }
  current = undefined;
});

const seat = { key: (id: number) => ['seat', id] };
const nameOf = (id: number): string => `seat ${id}`;
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, index) => from + index);

/** A batch loader that writes down what it was called with, and answers at once. */
function table() {
  const batches: number[][] = [];
  const load = async (ids: readonly number[]): Promise<Map<number, string>> => {
    batches.push([...ids]);
    return new Map(ids.map((id) => [id, nameOf(id)]));
  };
  return { batches, load };
}

/** A batch loader whose runs a test ends one by one. */
function manualTable() {
  const runs: {
    ids: readonly number[];
    context: BatchContext<number, string>;
    end(values?: Map<number, string>): void;
    fail(error: unknown): void;
  }[] = [];
  const load = (ids: readonly number[], context: BatchContext<number, string>): Promise<Map<number, string>> =>
    new Promise((resolve, reject) => {
      runs.push({ ids, context, end: (values = new Map(ids.map((id) => [id, nameOf(id)]))) => resolve(values), fail: reject });
    });
  return { runs, load };
}

describe('runMany in one process', () => {
  it('loads all keys by one call, and returns a map in the order of the keys', async () => {
    const { batches, load } = table();
    const seats = await createCollapser().runMany([3, 1, 2], load, seat);
    expect([...seats]).toEqual([
      [3, 'seat 3'],
      [1, 'seat 1'],
      [2, 'seat 2'],
    ]);
    expect(batches).toEqual([[3, 1, 2]]);
  });

  it('asks for each key once, also where keys repeat or stand for the same key', async () => {
    const { batches, load } = table();
    const seats = await createCollapser().runMany([1, 2, 1, 11], load, { key: (id) => ['seat', id % 10] });
    expect(batches).toEqual([[1, 2]]);
    expect([...seats]).toEqual([
      [1, 'seat 1'],
      [2, 'seat 2'],
      [11, 'seat 1'],
    ]);
  });

  it('loads nothing for no keys', async () => {
    const { batches, load } = table();
    expect(await createCollapser().runMany([], load, seat)).toEqual(new Map());
    expect(batches).toEqual([]);
  });

  it('joins run on the same key, and is joined by it', async () => {
    const collapser = createCollapser();
    const single = manualLoader();
    const { runs, load } = manualTable();
    const first = collapser.run(['seat', 1], single);
    const many = collapser.runMany([1, 2], load, seat);
    const second = collapser.run(['seat', 2], single);
    expect(runs.map(({ ids }) => ids)).toEqual([[2]]);
    runs[0]?.end();
    single.runs[0]?.end('from run');
    expect([await first, await second, [...(await many)]]).toEqual([
      'from run',
      'seat 2',
      [
        [1, 'from run'],
        [2, 'seat 2'],
      ],
    ]);
    expect(single.runs).toHaveLength(1);
  });

  it("loads in the caller's own context", async () => {
    const request = new AsyncLocalStorage<string>();
    const seen = await request.run('request 7', () => createCollapser().runMany([1], async () => new Map([[1, request.getStore()]]), seat));
    expect(seen.get(1)).toBe('request 7');
  });

  it("loads in its caller's own context also when it takes over from another caller", async () => {
    const collapser = createCollapser();
    const request = new AsyncLocalStorage<string>();
    const single = manualLoader();
    const first = request.run('request 1', () => collapser.run(['seat', 1], single, { shareErrors: false }));
    const many = request.run('request 2', () => collapser.runMany([1], async () => new Map([[1, request.getStore()]]), seat));
    single.runs[0]?.fail(new Error('not shared'));
    await expect(first).rejects.toThrow('not shared');
    expect([...(await many).values()]).toEqual(['request 2']);
  });

  it('settles keys one by one as the loader says, before the batch has ended', async () => {
    const collapser = createCollapser();
    const { runs, load } = manualTable();
    const many = collapser.runMany([1, 2], load, seat);
    const single = collapser.run(['seat', 1], () => 'never');
    runs[0]?.context.settle(1, 'early');
    expect(await single).toBe('early');
    expect(await fates([many])).toEqual(['pending']);
    runs[0]?.end();
    expect([...(await many)]).toEqual([
      [1, 'early'],
      [2, 'seat 2'],
    ]);
  });

  it('leaves out what the loader did not find, and gives undefined for it to run', async () => {
    const collapser = createCollapser();
    const { runs, load } = manualTable();
    const many = collapser.runMany([1, 2, 3], load, seat);
    const single = collapser.run(['seat', 2], () => 'never');
    runs[0]?.end(new Map([[3, 'c']]));
    expect([...(await many)]).toEqual([[3, 'c']]);
    expect(await single).toBeUndefined();
  });

  it('rejects with the error of the loader, thrown or rejected, untouched', async () => {
    const collapser = createCollapser();
    const gone = new Error('the database is gone');
    const thrown = collapser.runMany(
      [1, 2],
      () => {
        throw gone;
      },
      seat,
    );
    await expect(thrown).rejects.toBe(gone);
    await expect(collapser.runMany([1, 2], () => Promise.reject(gone), seat)).rejects.toBe(gone);
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
  });

  it('fails one key alone when the loader says so: the call rejects, or tells onKeyError and has the others', async () => {
    const collapser = createCollapser();
    const broken = new Error('broken seat');
    const failures: unknown[] = [];
    const { runs, load } = manualTable();
    const strict = collapser.runMany([1, 2], load, seat);
    const lenient = collapser.runMany([1, 2], load, { ...seat, onKeyError: (...failure) => void failures.push(failure) });
    runs[0]?.context.fail(1, broken);
    await expect(strict).rejects.toBe(broken);
    runs[0]?.end();
    expect([...(await lenient)]).toEqual([[2, 'seat 2']]);
    expect(failures).toEqual([[1, broken]]);
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
  });

  it('leaves by its signal, and aborts that of the batch once nobody waits for any of its keys', async () => {
    const collapser = createCollapser();
    const leaves = new AbortController();
    const { runs, load } = manualTable();
    const many = collapser.runMany(range(0, 50), load, { ...seat, signal: leaves.signal });
    const stays = new AbortController();
    const single = collapser.run(['seat', 7], () => 'never', { signal: stays.signal });
    const { signal } = runs[0]?.context ?? {};
    leaves.abort(new Error('gone'));
    await expect(many).rejects.toThrow('gone');
    expect(signal?.aborted).toBe(false);
    stays.abort();
    await expect(single).rejects.toThrow();
    expect(signal?.aborted).toBe(true);
    expect(collapser.stats()).toMatchObject({ flights: 0, waiters: 0 });
    await expect(collapser.runMany([1], load, { ...seat, signal: leaves.signal })).rejects.toThrow('gone');
    expect(runs).toHaveLength(1);
  });

  it('warns of no listeners however many keys share a signal', async () => {
    const warnings: unknown[] = [];
    const note = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', note);
    await createCollapser().runMany(range(0, 50), table().load, { ...seat, signal: new AbortController().signal });
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('forgets its signal when it is over', async () => {
    const stays = new AbortController();
    await createCollapser().runMany([1, 2], table().load, { ...seat, signal: stays.signal });
    expect(getEventListeners(stays.signal, 'abort')).toEqual([]);
  });

  it('tells each key its own context, and the batch all keys', async () => {
    const { r0, settleDown } = start(1);
    const { runs, load } = manualTable();
    const many = r0.runMany([1, 2], load, seat);
    await settleDown();
    const { context } = runs[0] ?? {};
    expect([context?.key, context?.fencingToken]).toEqual([[1, 2], undefined]);
    expect([context?.of(1).key, context?.of(2).key]).toEqual([
      ['seat', 1],
      ['seat', 2],
    ]);
    expect(context?.of(2).fencingToken).toBeGreaterThan(0);
    expect(() => context?.of(3)).toThrow('expected a key of this batch, got the number 3');
    expect(() => context?.settle(3, '')).toThrow('expected a key of this batch, got the number 3');
    expect(() => context?.fail(3, '')).toThrow(TypeError);
    runs[0]?.end();
    await many;
  });

  it('still loads by one call over the limit of flights and in observe mode', async () => {
    for (const options of [{ limits: { flightsMax: 1 } }, { mode: 'observe' as const }]) {
      const { batches, load } = table();
      expect((await createCollapser(options).runMany([1, 2, 3], load, seat)).size).toBe(3);
      expect(batches).toEqual([[1, 2, 3]]);
    }
  });

  it('gathers single loads of one tick into batches, as a DataLoader does', async () => {
    const collapser = createCollapser();
    const { batches, load } = table();
    const loadSeat = gathered((ids: number[]) => collapser.runMany(ids, load, seat));
    expect(await Promise.all([loadSeat(1), loadSeat(2), loadSeat(1)])).toEqual(['seat 1', 'seat 2', 'seat 1']);
    expect(await loadSeat(3)).toBe('seat 3');
    expect(batches).toEqual([[1, 2], [3]]);
  });
});

/** What a DataLoader does, in a few lines over `runMany`: collects the keys of one tick. */
function gathered<K, T>(loadAll: (keys: K[]) => Promise<Map<K, T>>): (key: K) => Promise<T | undefined> {
  let next: { keys: Set<K>; all: Promise<Map<K, T>> } | undefined;
  return async (key) => {
    if (next === undefined) {
      const keys = new Set<K>();
      const all = Promise.resolve().then(() => {
        next = undefined;
        return loadAll([...keys]);
      });
      next = { keys, all };
    }
    next.keys.add(key);
    return (await next.all).get(key);
  };
}

describe('calls inside a batch loader', () => {
  it('are not collapsed for other keys, also across awaits and in another collapser', async () => {
    const collapser = createCollapser();
    const other = createCollapser({ name: 'other' });
    const held = manualLoader();
    void collapser.run('venue', held);
    void other.run('venue', held);
    const sources: string[] = [];
    await collapser.runMany(
      [1],
      async () => {
        await Promise.resolve();
        for (const each of [collapser, other]) sources.push((await each.flight('venue', () => 'alone')).source);
        sources.push(...(await collapser.runMany([2], async () => new Map([[2, 'nested batch']]), seat)).values());
        return new Map();
      },
      seat,
    );
    expect(sources).toEqual(['bypass', 'bypass', 'nested batch']);
    held.runs.forEach((run) => run.end('v'));
  });

  it('are refused where they are once: the effect would happen each time', async () => {
    const collapser = createCollapser();
    const effects: unknown[] = [];
    const load = async (): Promise<Map<number, string>> => {
      await collapser.once('alert', () => void effects.push(1), { ttlMs: 1_000 });
      return new Map();
    };
    await expect(collapser.runMany([1], load, seat)).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_ONEFLIGHT_BATCH',
      message: 'expected once to be called after runMany, got a call inside its batch loader',
    });
    expect(effects).toEqual([]);
    expect(await collapser.once('alert', () => void effects.push(1), { ttlMs: 1_000 })).toBe('ran');
  });

  it('get ReentrantFlightError for a key of the batch, which would wait for itself', async () => {
    const collapser = createCollapser();
    const errors: unknown[] = [];
    await collapser.runMany(
      [1, 2],
      async (ids) => {
        errors.push(await collapser.run(['seat', 2], () => 'v').catch((error: { code: string }) => error.code));
        const deeper = collapser.runMany([3], async () => new Map([[3, await collapser.run(['seat', 1], () => 'v')]]), seat);
        errors.push(await deeper.catch((error: { code: string }) => error.code));
        return new Map(ids.map((id) => [id, 'v']));
      },
      seat,
    );
    expect(errors).toEqual(['ERR_ONEFLIGHT_REENTRANT', 'ERR_ONEFLIGHT_REENTRANT']);
  });

  it('are collapsed again once the batch has ended, in work that it left behind', async () => {
    const collapser = createCollapser();
    const held = manualLoader();
    let goOn = (): void => {};
    const ended = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let left: Promise<unknown> | undefined;
    await collapser.runMany(
      [1],
      async () => {
        left = ended.then(() => Promise.all([collapser.run('venue', held), collapser.run('venue', held)]));
        return new Map();
      },
      seat,
    );
    goOn();
    await new Promise((resolve) => setImmediate(resolve));
    expect(held.runs).toHaveLength(1);
    held.runs[0]?.end('v');
    expect(await left).toEqual(['v', 'v']);
  });

  it('do not make two replicas wait for each other where keys need each other without a circle: a needs b, c needs d', async () => {
    const { r0, r1, settleDown, network } = start(2);
    // R0 leads a and d, R1 leads b and c: each batch needs a key of the other one.
    const needs: Record<string, string> = { a: 'b', c: 'd' };
    const loaded: string[] = [];
    const of = (name: string) => ({ key: (part: string) => [name, part] });
    const load = (replica: Collapser) => async (parts: readonly string[]) => {
      const values = new Map<string, string>();
      for (const part of parts) {
        const need = needs[part];
        const needed = need === undefined ? '' : await replica.run(['part', need], () => `${need} alone`);
        loaded.push(part);
        values.set(part, `${part}(${needed})`);
      }
      return values;
    };
    const hold = network.hold(legs(1, 'request', 'claim'));
    const left = r0.runMany(['a', 'd'], load(r0), of('part'));
    const right = r1.runMany(['b', 'c'], load(r1), of('part'));
    hold();
    await settleDown();
    expect([[...(await left).values()], [...(await right).values()]]).toEqual([
      ['a(b alone)', 'd()'],
      ['b()', 'c(d alone)'],
    ]);
    expect(loaded.toSorted()).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('runMany over replicas', () => {
  it('loads each of 100 overlapping keys once on 8 replicas, and each replica the keys that it leads by one call', async () => {
    const { replicas, hub, settleDown } = start(8);
    const tables = replicas.map(table);
    const calls = replicas.map((replica, index) => {
      const ids = range(index * 5, index * 5 + 65);
      return replica.runMany(ids, tables[index]?.load ?? table().load, seat);
    });
    await settleDown();
    for (const [index, call] of calls.entries()) {
      const ids = range(index * 5, index * 5 + 65);
      expect([...(await call)]).toEqual(ids.map((id) => [id, nameOf(id)]));
    }
    const batches = tables.map((each) => each.batches);
    expect(batches.flat(2).sort((a, b) => a - b)).toEqual(range(0, 100));
    expect(batches.map((each) => each.length)).toEqual(Array(8).fill(1));
    expect(hub.clock.pending, 'no timer of a batch is left').toBe(0);
    const count = (op: string) => hub.operations.filter((operation) => operation.op === op).length;
    expect({ claims: count('claim'), settles: count('settle'), all: hub.operations.length }).toEqual({
      claims: 8 * 65,
      settles: 100,
      all: 8 * 65 + 100,
    });
  });

  it('starts both batches where each replica leads a key that the other one follows', async () => {
    const { r0, r1, settleDown, network } = start(2);
    const tables = [manualTable(), manualTable()] as const;
    // R0's claim of b and R1's claim of a come second.
    const isSecond = new Set<unknown>();
    const letGo = network.hold((leg) => leg.kind === 'request' && leg.op === 'claim' && isSecond.has(leg.id));
    isSecond.add('replica-1#2').add('replica-2#2');
    const left = r0.runMany(['a', 'b'] as never[], tables[0].load as never, { key: (part) => part });
    const right = r1.runMany(['b', 'a'] as never[], tables[1].load as never, { key: (part) => part });
    await settleDown();
    expect(
      tables.map(({ runs }) => runs.length),
      'claims without a reply are waited for',
    ).toEqual([0, 0]);
    letGo();
    await settleDown();
    expect(tables.map(({ runs }) => runs.map(({ ids }) => ids))).toEqual([[['a']], [['b']]]);
    tables[0].runs[0]?.end();
    tables[1].runs[0]?.end();
    await settleDown();
    expect([...(await left)]).toEqual([...(await right)].toReversed());
  });

  it('starts with what came when a claim is not answered in time; a key that is led later has a batch of its own', async () => {
    const { r0, network, clock, settleDown } = start(1);
    const { runs, load } = manualTable();
    const deliver = network.hold((leg) => leg.kind === 'reply' && leg.id === 'replica-1#2');
    const many = r0.runMany([1, 2, 3], load, seat);
    // Others are answered: the coordinator is busy, not silent, and the flight of key 2 waits on.
    for (let round = 0; round < 3; round++) {
      await clock.advance(99);
      void r0.run(['other', round], () => 1);
    }
    expect(runs.map(({ ids }) => ids)).toEqual([[1, 3]]);
    deliver();
    await settleDown();
    expect(runs.map(({ ids }) => ids)).toEqual([[1, 3], [2]]);
    runs.forEach((run) => run.end());
    await settleDown();
    expect((await many).size).toBe(3);
  });

  it('leaves out of a batch a key whose load took too long before the batch could start', async () => {
    const { r0, network, clock, settleDown } = start(1);
    const { runs, load } = manualTable();
    const deliver = network.hold((leg) => leg.kind === 'reply' && leg.id === 'replica-1#2');
    const failures: unknown[] = [];
    const onKeyError = (id: number, error: unknown): void => void failures.push([id, Reflect.get(Object(error), 'code')]);
    const many = r0.runMany([1, 2], load, { ...seat, loadTimeoutMs: 100, onKeyError });
    await clock.advance(120);
    deliver();
    await settleDown();
    expect([runs.map(({ ids }) => ids), failures]).toEqual([[[2]], [[1, 'ERR_ONEFLIGHT_LOAD_TIMEOUT']]]);
    runs[0]?.end();
    expect([...(await many)]).toEqual([[2, 'seat 2']]);
  });

  it('takes over by one batch also what a closing replica hands over key by key', async () => {
    const { r0, r1, settleDown, clock } = start(2);
    const { runs, load } = manualTable();
    const ends = Promise.allSettled([r0.runMany(range(0, 5), load, seat)]);
    await settleDown();
    const waits = r1.runMany(range(0, 5), load, seat);
    await settleDown();
    void r0.close({ drainMs: 0 });
    await clock.advance(10);
    expect((await ends).map(({ status }) => status)).toEqual(['rejected']);
    expect(runs.map(({ ids }) => ids)).toEqual([range(0, 5), range(0, 5)]);
    runs[1]?.end();
    await settleDown();
    expect((await waits).size).toBe(5);
  });

  it('answers other replicas key by key when the loader is a generator, and misses what it never yields', async () => {
    const { r0, r1, settleDown } = start(2);
    const steps: (() => void)[] = [];
    const step = (): Promise<void> => new Promise((resolve) => void steps.push(resolve));
    const leading = r0.runMany(
      [1, 2, 3],
      async function* () {
        await step();
        yield [1, 'early'];
        await step();
        yield [2, 'late'];
      },
      seat,
    );
    await settleDown();
    const calls = [1, 2, 3].map((id) => r1.run(['seat', id], () => 'never'));
    await settleDown();
    steps[0]?.();
    await settleDown();
    expect(await fates(calls)).toEqual(['value early', 'pending', 'pending']);
    steps[1]?.();
    await settleDown();
    expect(await fates(calls)).toEqual(['value early', 'value late', 'value undefined']);
    expect([...(await leading)]).toEqual([
      [1, 'early'],
      [2, 'late'],
    ]);
  });

  it('fails what a generator has not yielded when it throws or yields a key that is not of the batch', async () => {
    const collapser = createCollapser();
    for (const last of [() => [9, 'whose?'] as const, () => Promise.reject(new Error('cursor lost'))]) {
      const failed: unknown[] = [];
      const load = async function* () {
        yield [1, 'a'] as const;
        yield await last();
      };
      const seats = await collapser.runMany([1, 2], load, { ...seat, onKeyError: (id) => void failed.push(id) });
      expect([[...seats], failed]).toEqual([[[1, 'a']], [2]]);
    }
  });

  it('answers other replicas key by key when the loader settles them one by one', async () => {
    const { r0, r1, settleDown } = start(2);
    const { runs, load } = manualTable();
    const leading = r0.runMany([1, 2], load, seat);
    await settleDown();
    const early = r1.run(['seat', 1], () => 'never');
    const late = r1.run(['seat', 2], () => 'never');
    await settleDown();
    runs[0]?.context.settle(1, 'early');
    await settleDown();
    expect(await fates([early, late])).toEqual(['value early', 'pending']);
    runs[0]?.end();
    await settleDown();
    expect(await fates([late, leading])).toEqual(['value seat 2', expect.stringContaining('value')]);
  });

  it('leaves out on every replica what the loader did not find, also with a codec that knows no undefined', async () => {
    const codec = {
      encode: (value: string) => Buffer.from(JSON.stringify(value)),
      decode: (bytes: Uint8Array) => String(JSON.parse(Buffer.from(bytes).toString())),
    };
    for (const [options, defaults] of [[seat], [{ ...seat, codec }], [seat, { codec }]] as const) {
      const { replicas, settleDown } = start(3, {}, { defaults: defaults ?? {} });
      const { runs, load } = manualTable();
      const calls = replicas.map((replica) => replica.runMany([1, 2], load, options));
      await settleDown();
      expect(runs.map(({ ids }) => ids)).toEqual([[1, 2]]);
      runs[0]?.end(new Map([[2, 'b']]));
      await settleDown();
      expect((await Promise.all(calls)).map((values) => [...values])).toEqual(Array(3).fill([[2, 'b']]));
      await current?.closeAll();
    }
  });

  it('tells a value that takes no bytes from one that is missing: every replica gets it', async () => {
    const codec = { encode: (value: string) => Buffer.from(value), decode: (bytes: Uint8Array) => Buffer.from(bytes).toString() };
    const { replicas, settleDown } = start(2);
    const load = async () => new Map([[1, '']]);
    const calls = replicas.map((replica) => replica.runMany([1, 2], load, { ...seat, codec }));
    await settleDown();
    expect((await Promise.all(calls)).map((values) => [...values])).toEqual([[[1, '']], [[1, '']]]);
  });

  it('gives every replica the error of a batch that failed', async () => {
    const { replicas, settleDown } = start(3);
    const { runs, load } = manualTable();
    const ends = Promise.allSettled(replicas.map((replica) => replica.runMany([1, 2], load, seat)));
    await settleDown();
    runs[0]?.fail(Object.assign(new Error('deadlock detected'), { code: '40P01' }));
    await settleDown();
    expect(await ends).toMatchObject(Array(3).fill({ status: 'rejected', reason: { code: '40P01', message: 'deadlock detected' } }));
  });

  it('takes over all keys of a replica that dies in the middle by one batch', async () => {
    let drawn = 0;
    const { r0, r1, replicas, coordinators, settleDown, clock } = start(3, {}, { random: () => (drawn++ % 7) / 7 });
    const tables = [manualTable(), manualTable(), manualTable()] as const;
    void r0.runMany(range(0, 20), tables[0].load, seat).catch(() => undefined);
    await settleDown();
    const survivors = [r1.runMany(range(0, 20), tables[1].load, seat), replicas[2]?.runMany(range(0, 20), tables[2].load, seat)];
    const ends = Promise.allSettled(survivors);
    await settleDown();
    tables[0].runs[0]?.context.settle(0, 'before it died');
    await settleDown();
    coordinators[0]?.crash();
    await clock.advance(500);
    const again = [...tables[1].runs, ...tables[2].runs];
    expect(again.length, 'one batch per replica at most').toBeLessThanOrEqual(2);
    expect(again.flatMap(({ ids }) => ids).toSorted((a, b) => a - b)).toEqual(range(1, 20));
    again.forEach((run) => run.end());
    await settleDown();
    const expected = range(0, 20).map((id) => [id, id === 0 ? 'before it died' : nameOf(id)]);
    for (const end of await ends) expect(end.status === 'fulfilled' && [...(end.value ?? [])]).toEqual(expected);
  });

  it('takes over all keys by one batch also where only the end of their leases shows that the leader is gone', async () => {
    let drawn = 0;
    const { r0, r1, network, settleDown, clock } = start(2, {}, { random: () => (drawn++ % 7) / 7 });
    const { runs, load } = manualTable();
    void r0.runMany(range(0, 20), load, seat).catch(() => undefined);
    await settleDown();
    const waits = r1.runMany(range(0, 20), load, seat);
    await settleDown();
    // The leader's last renewals arrive milliseconds apart, so its leases end so. It stays connected.
    const isEven = (id: unknown): boolean => Number(String(id).split('#')[1]) % 2 === 0;
    const renewal = legs(0, 'request', 'renew');
    const some = network.hold((leg) => renewal(leg) && 'id' in leg && isEven(leg.id));
    const others = network.hold(renewal);
    await clock.advance(1_003);
    some();
    await clock.advance(5);
    others();
    network.lose(legs(0, 'request'));
    await clock.advance(8_000);
    expect(runs.map(({ ids }) => ids)).toEqual([range(0, 20), range(0, 20)]);
    runs[1]?.end();
    await settleDown();
    expect((await waits).size).toBe(20);
  });

  it('loads everything by one call on each replica while the coordinator is away, or rejects if asked to', async () => {
    const { replicas, r0, hub, settleDown } = start(2);
    hub.outage(true);
    const tables = replicas.map(table);
    const calls = replicas.map((replica, index) => replica.runMany([1, 2, 3], tables[index]?.load ?? table().load, seat));
    const refused = Promise.allSettled([r0.runMany([4, 5], table().load, { ...seat, whenDegraded: 'reject' })]);
    await settleDown();
    expect((await Promise.all(calls)).map(({ size }) => size)).toEqual([3, 3]);
    expect(tables.map(({ batches }) => batches)).toEqual([[[1, 2, 3]], [[1, 2, 3]]]);
    expect(await refused).toMatchObject([{ status: 'rejected', reason: { code: 'ERR_ONEFLIGHT_COORDINATOR' } }]);
    hub.outage(false);
  });

  it('answers with stale values at once, and refreshes all of them by one batch behind', async () => {
    const { r0, r1, clock, settleDown } = start(2);
    const { batches, load } = table();
    const cached = { ...seat, ttlMs: 1_000, staleWhileRevalidateMs: 10_000 };
    await Promise.all([r0.runMany([1, 2, 3], load, cached), settleDown()]);
    await clock.advance(2_000);
    const { runs, load: slow } = manualTable();
    const stale = r1.runMany([1, 2, 3], slow, cached);
    await settleDown();
    expect([...(await stale).keys()]).toEqual([1, 2, 3]);
    expect(runs.map(({ ids }) => ids)).toEqual([[1, 2, 3]]);
    runs[0]?.end(
      new Map([
        [1, 'new'],
        [2, 'new'],
        [3, 'new'],
      ]),
    );
    await settleDown();
    const [fresh] = await Promise.all([r0.runMany([1, 2, 3], load, cached), settleDown()]);
    expect([[...fresh.values()], batches]).toEqual([['new', 'new', 'new'], [[1, 2, 3]]]);
  });

  it('keeps the leases of a batch that takes much longer than one', async () => {
    const { r0, r1, settleDown, clock } = start(2);
    const { runs, load } = manualTable();
    const calls = [r0.runMany(range(0, 10), load, seat), r1.runMany(range(0, 10), load, seat)];
    await clock.advance(20_000);
    expect(runs).toHaveLength(1);
    runs[0]?.end();
    await settleDown();
    expect((await Promise.all(calls)).map(({ size }) => size)).toEqual([10, 10]);
  });

  it('gives a call after an invalidation a load that began after it', async () => {
    const { r0, r1, settleDown } = start(2);
    const { runs, load } = manualTable();
    const before = r0.runMany([1, 2], load, seat);
    await settleDown();
    await Promise.all([r1.invalidate(['seat', 1]), settleDown()]);
    const after = r1.runMany([1, 2], load, seat);
    await settleDown();
    expect(runs.map(({ ids }) => ids)).toEqual([[1, 2], [1]]);
    runs[0]?.end(
      new Map([
        [1, 'old'],
        [2, 'old'],
      ]),
    );
    runs[1]?.end(new Map([[1, 'new']]));
    await settleDown();
    expect([[...(await before).values()], [...(await after).values()]]).toEqual([
      ['old', 'old'],
      ['new', 'old'],
    ]);
  });

  it('ends every call, and loads each key once, whatever the overlaps and the order of the replies', { timeout: 30_000 }, async () => {
    const plan = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 8 }), { minLength: 2, maxLength: 6 });
    const property = fc.asyncProperty(plan, fc.infiniteStream(fc.nat(40)), async (calls, delays) => {
      const { replicas, clock, network, hub } = cluster(3, {}, {});
      const release = network.hold((leg) => leg.kind === 'reply' && leg.op === 'claim' && (delays.next().value ?? 0) > 20);
      const loaded: number[] = [];
      const load = async (ids: readonly number[]) => {
        loaded.push(...ids);
        await new Promise<void>((resolve) => void clock.setTimer(resolve, 300));
        return new Map(ids.map((id) => [id, nameOf(id)]));
      };
      const results = calls.map((ids, index) => replicas[index % 3]?.runMany(ids, load, seat));
      await clock.advance(40);
      release();
      await clock.advance(5_000);
      const ends = await Promise.all(results);
      expect(ends.map((values) => [...(values ?? [])])).toEqual(calls.map((ids) => ids.map((id) => [id, nameOf(id)])));
      expect(loaded.toSorted()).toEqual([...new Set(calls.flat())].toSorted());
      expect(replicas.map((replica) => replica.stats().flights)).toEqual([0, 0, 0]);
      await Promise.all(replicas.map((replica) => replica.close()));
      expect(clock.pending).toBe(0);
      expect(hub.keys().every(({ table: name }) => name !== 'L')).toBe(true);
    });
    await fc.assert(property, { numRuns: 100, seed: 20_260_101 });
  });
});

describe('runMany refuses', () => {
  const collapser = createCollapser();
  const { load } = table();
  it.each<[name: string, call: () => Promise<unknown>, code: string, message: string]>([
    ['keys that are no array', () => collapser.runMany(5 as never, load, seat), 'KEY', 'expected keys to be an array, got the number 5'],
    [
      'a loader that is none',
      () => collapser.runMany([1], 5 as never, seat),
      'LOADER',
      'expected a batch loader: a function that returns a Map from key to value, got the number 5',
    ],
    ['no options', () => collapser.runMany([1], load, undefined as never), 'OPTION', 'expected options to be an object, got undefined'],
    [
      'no key function',
      () => collapser.runMany([1], load, {} as never),
      'OPTION',
      'expected options.key to be a function from one of the keys to the key it stands for, got undefined',
    ],
    [
      'an unknown option',
      () => collapser.runMany([1], load, { ...seat, onError: 1 } as never),
      'OPTION',
      "the unknown option 'onError'; did you mean 'onKeyError'?",
    ],
    [
      'an option of run that is wrong',
      () => collapser.runMany([1], load, { ...seat, timeoutMs: 0 }),
      'OPTION',
      'expected options.timeoutMs to be',
    ],
    [
      'a key that is none, before anything is loaded',
      () => collapser.runMany([1, 2], load, { key: (id) => (id === 2 ? '' : 'k') }),
      'KEY',
      'got an empty string',
    ],
    [
      'a loader that returns no map',
      () => collapser.runMany([1], async () => ['v'] as never, seat),
      'LOADER',
      'expected a batch loader that returns a Map from key to value, got an array of length 1',
    ],
    ['a loader that returns nothing', () => collapser.runMany([1], async () => undefined as never, seat), 'LOADER', 'got undefined'],
  ])('%s', async (_, call, code, message) => {
    await expect(call()).rejects.toEqual(
      expect.objectContaining({ name: 'TypeError', code: `ERR_ONEFLIGHT_${code}`, message: expect.stringContaining(message) }),
    );
    expect(collapser.stats().flights).toBe(0);
  });

  it('a closed collapser', async () => {
    const closed = createCollapser();
    await closed.close();
    await expect(closed.runMany([1], load, seat)).rejects.toMatchObject({ code: 'ERR_ONEFLIGHT_CLOSED' });
  });
});
