// One replica as its own process, on the built packages. It is driven by messages from fleet.ts, one reply each.
//
// Its loader counts itself at an independent Redis connection: how many loads of the key ran so far, and how many run at
// this moment. Times are of the machine's monotonic clock, which all processes share.
import { createCollapser } from '@oneflight/core';
import { endedCalls } from '@oneflight/core/testing';
import { redisCoordinator } from '@oneflight/redis-adapter';
import { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';

const { url, controlUrl = url, options = {}, name = 'fleet', isTraced = false, alone = false } = JSON.parse(process.argv[2]);
const redis = new Redis(url, { lazyConnect: true });
redis.on('error', () => undefined);
const control = new Redis(controlUrl);
const untraced = createCollapser({ name, ...(!alone && { coordinator: redisCoordinator({ redis, ...options }) }) });
const { collapser, endedSpans } = isTraced ? await traced(untraced) : { collapser: untraced, endedSpans: () => [] };

async function traced(plain) {
  const [{ traceCollapser }, { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor }] = await Promise.all([
    import('@oneflight/core/opentelemetry'),
    import('@opentelemetry/sdk-trace-base'),
  ]);
  const exporter = new InMemorySpanExporter();
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  return { collapser: traceCollapser(plain, { tracerProvider }), endedSpans: () => exporter.getFinishedSpans() };
}

/** What the collapser said, counted by type and result; `followsItself` counts flights that wait for a flight of this process. */
const events = { followsItself: 0 };
let callsTold = 0;
collapser.listen(({ type, result, flightId, leaderId, degraded }) => {
  if (type === 'call') callsTold++;
  if (type === 'call' || type === 'operation') return;
  const what = type === 'degraded' && !degraded ? 'reached' : result === undefined ? type : `${type}:${result}`;
  events[what] = (events[what] ?? 0) + 1;
  if (type === 'election' && result === 'lost' && inboxOf(leaderId) === inboxOf(flightId)) events.followsItself++;
});
const inboxOf = (id) => id.split('#')[0];

const now = () => Number(process.hrtime.bigint()) / 1e6;

/** A load that says when it ran, and whether another load of its key ran at the same time. */
function loader({ key, loadMs, barrier, arrive, fails, value }) {
  return async ({ fencingToken }) => {
    arrive?.();
    const startedAt = now();
    const [[, running], [, number]] = await control
      .multi()
      .incr(`running:${key}`)
      .incr(`loads:${key}`)
      .set(`loader:${key}`, process.pid)
      .exec();
    if (barrier !== undefined) while (Number(await control.get(barrier.key)) < barrier.count) await sleep(2);
    await sleep(loadMs);
    await control.decr(`running:${key}`);
    if (fails !== undefined) throw Object.assign(new RangeError(fails), { code: 'LOAD_FAILED', status: 503 });
    return { number, running, startedAt, endedAt: now(), pid: process.pid, fencingToken, value };
  };
}

/** Counts this process at the barrier, once: when its claims were answered, or when it loads without them. */
function comingTo(barrier, claims = 1) {
  let isThere = barrier === undefined;
  let answered = 0;
  const arrive = () => {
    if (!isThere) void control.incr(barrier.key);
    isThere = true;
  };
  return { arrive, stop: collapser.listen(({ type }) => type === 'election' && ++answered === claims && arrive()) };
}

/** A batch load that counts each of its keys, and yields them one by one where it is told to. */
function batchLoader({ name, loadMs = 0, barrier, arriveDegraded, fails = [], yields = false }, batches) {
  const load = async (ids, batch) => {
    batches.push([...ids]);
    if (batch.of(ids[0]).fencingToken === undefined) arriveDegraded();
    const counts = control.multi();
    for (const id of ids) counts.incr(`loads:${name}:${id}`);
    const numbers = (await counts.exec()).map(([, number]) => number);
    if (barrier !== undefined) while (Number(await control.get(barrier.key)) < barrier.count) await sleep(2);
    await sleep(loadMs);
    const rows = new Map(ids.map((id, index) => [id, { id, number: numbers[index], pid: process.pid }]));
    for (const id of ids) if (fails.includes(id)) batch.fail(id, new RangeError(`no row ${id}`));
    return rows;
  };
  if (!yields) return load;
  return async function* (ids, batch) {
    for (const row of await load(ids, batch)) yield row;
  };
}

async function call(request) {
  const startedAt = now();
  try {
    const { value, source, waitedMs } = await collapser.flight(request.key, loader(request), request.runOptions);
    return { startedAt, endedAt: now(), source, waitedMs, load: value };
  } catch (error) {
    return {
      startedAt,
      endedAt: now(),
      error: { name: error.name, message: error.message, code: error.code, status: error.status, remote: error.remote === true },
    };
  }
}

/** Each call is counted in exactly one way to end, and told once; else this process ends with a code that no test expects. */
function checkTotals() {
  const { totals } = collapser.stats();
  if (totals.calls === endedCalls(totals) && totals.calls === callsTold) return;
  console.error(`${totals.calls} calls, ${callsTold} told, counted as ${JSON.stringify(totals)}`);
  process.exitCode = 70;
}

let steady;

/** What only a codec of its own carries: an instance of a class. */
class Price {
  constructor(cents) {
    this.cents = cents;
  }

  get isFree() {
    return this.cents === 0;
  }
}
const priceCodec = { encode: ({ cents }) => Buffer.from(String(cents)), decode: (bytes) => new Price(Number(Buffer.from(bytes))) };

/** By key: what its watchers of this process were given, and how they end. */
const watches = new Map();

const commands = {
  /** `calls` calls of one key at once; the barrier counts a process once its calls are made. */
  async burst({ at, calls, ...request }) {
    if (at !== undefined) await sleep(Math.max(0, at - now()));
    const { arrive, stop } = comingTo(request.barrier);
    const made = Array.from({ length: calls }, () => call({ ...request, arrive }));
    return Promise.all(made).finally(stop);
  },
  /** One call of each key, all at once. */
  async sweep({ at, keys, ...request }) {
    if (at !== undefined) await sleep(Math.max(0, at - now()));
    return Promise.all(keys.map((key) => call({ ...request, key })));
  },
  /** One call of many keys. Answers with the values, the failures, and what each batch of this process was called with. */
  async many({ ids, runOptions, ...request }) {
    const { arrive, stop } = comingTo(request.barrier, ids.length);
    const batches = [];
    const failures = [];
    const load = batchLoader({ ...request, arriveDegraded: arrive }, batches);
    const options = { ...runOptions, key: (id) => [request.name, id], onKeyError: (id, { message }) => failures.push([id, message]) };
    const values = await collapser.runMany(ids, load, options).finally(stop);
    return { values: [...values.values()], failures, batches };
  },
  /** Calls of an effect at once; answers with what each was told. */
  async once({ key, calls, ttlMs, barrier }) {
    const { arrive, stop } = comingTo(barrier);
    const effect = loader({ key, loadMs: 0, barrier, arrive });
    return Promise.all(Array.from({ length: calls }, () => collapser.once(key, effect, { ttlMs }))).finally(stop);
  },
  /** Warms `name:id` for each id, and tells how often it was told of progress. */
  async warm({ name: prefix, ids, runOptions, concurrency = 4, barrier }) {
    let progress = 0;
    const entries = ids.map((id) => ({ key: `${prefix}:${id}`, loader: loader({ key: `${prefix}:${id}`, loadMs: 0, barrier }) }));
    const { loaded, shared, failed } = await collapser.warm(entries, { ...runOptions, concurrency, onProgress: () => progress++ });
    return { loaded, shared, failed: failed.length, progress };
  },
  /** Begins to watch; answers once each watcher has its first value. A slow one reads on when it is told to. */
  async watchStart({ key, watchers, debounceMs, barrier, slow = false }) {
    const one = async () => {
      const leaves = new AbortController();
      const load = loader({ key, loadMs: 0, barrier });
      const iterator = collapser.watch(key, load, { debounceMs, signal: leaves.signal })[Symbol.asyncIterator]();
      const values = [];
      const next = async () => {
        const { done, value } = await iterator.next();
        if (!done) values.push(value.number);
        return !done;
      };
      await next();
      const readOn = async () => {
        while (await next());
      };
      const reading = slow ? undefined : readOn();
      return { values, next, leave: () => (leaves.abort(), reading ?? next()) };
    };
    watches.set(key, await Promise.all(Array.from({ length: watchers }, one)));
  },
  watched: async ({ key }) => ({ values: watches.get(key).map(({ values }) => values) }),
  /** The number of the load that a slow reader gets next. */
  async watchNext({ key }) {
    const [watch] = watches.get(key);
    await watch.next();
    return watch.values.at(-1);
  },
  /** Aborts their signals; answers when each iteration has ended. */
  async watchStop({ key }) {
    await Promise.all(watches.get(key).map(({ leave }) => leave()));
    return watches.get(key).map(() => true);
  },
  /** So many changes at once. */
  async change({ key, times }) {
    await Promise.all(Array.from({ length: times }, () => collapser.invalidate(key)));
  },
  /** Callers that share a list, and each changes what it got; answers how many of them got it as it was loaded. */
  async shuffles({ key, calls, isolate, barrier }) {
    const { arrive, stop } = comingTo(barrier);
    const count = loader({ key, loadMs: 0, barrier, arrive });
    const list = async (context) => {
      await count(context);
      return [1, 2, 3, 4, 5];
    };
    const lists = await Promise.all(Array.from({ length: calls }, () => collapser.run(key, list, { isolate, timeoutMs: 60_000 }))).finally(
      stop,
    );
    const whole = lists.filter((each) => {
      const seen = each.join();
      each.splice(0, 2, 0);
      return seen === '1,2,3,4,5';
    });
    return { whole: whole.length, calls };
  },
  /** Loads that give an instance of a class, with the codec that carries it or without. */
  async prices({ key, calls, withCodec, barrier }) {
    const { arrive, stop } = comingTo(barrier);
    const count = loader({ key, loadMs: 0, barrier, arrive });
    const price = async (context) => new Price((await count(context)).number);
    const runOptions = { timeoutMs: 60_000, ...(withCodec && { codec: priceCodec }) };
    const prices = await Promise.all(Array.from({ length: calls }, () => collapser.run(key, price, runOptions))).finally(stop);
    return prices.map((each) => ({ isPrice: each instanceof Price }));
  },
  /** `users` callers that call again as soon as they are answered. */
  async closedLoop({ users, durationMs, ...request }) {
    const until = now() + durationMs;
    const answers = { calls: 0, errors: 0, overlaps: 0 };
    const user = async () => {
      while (now() < until) {
        const answer = await call(request);
        answers.calls++;
        if (answer.error !== undefined) answers.errors++;
        else if (answer.load.running !== 1) answers.overlaps++;
      }
    };
    await Promise.all(Array.from({ length: users }, user));
    return answers;
  },
  /** A call every `everyMs`, of several keys in turn, whether or not those before were answered; until stopSteady. */
  async startSteady({ everyMs, keys, ...request }) {
    const calls = [];
    const timer = setInterval(() => calls.push(call({ ...request, key: keys[calls.length % keys.length] })), everyMs);
    steady = { calls, stop: () => clearInterval(timer) };
  },
  async stopSteady() {
    steady.stop();
    return Promise.all(steady.calls);
  },
  events: async () => events,
  /** The number of a failure is what counts: an invalidation may be told that others could not be told. */
  async tryInvalidate({ key }) {
    return collapser.invalidate(key).then(
      () => 'told',
      (error) => error.code,
    );
  },
  async invalidate({ key }) {
    await collapser.invalidate(key);
    return now();
  },
  stats: async () => collapser.stats(),
  /** The spans that have ended, with all that an exporter would send of them. */
  spans: async () =>
    endedSpans().map((span) => {
      const { name, attributes, links, events, status, parentSpanContext } = span;
      return { name, attributes, links, events, status, parentSpanContext, ...span.spanContext() };
    }),
  /** Closes everything and lets the process exit by itself. */
  async close() {
    await collapser.close();
    checkTotals();
    redis.disconnect();
    control.disconnect();
    setImmediate(() => process.disconnect());
    return process.getActiveResourcesInfo();
  },
};

async function answer({ number, command, request }) {
  process.send({ number, reply: await commands[command](request) });
}

process.on('message', (message) => void answer(message));
process.send({ number: 0, reply: 'ready' });
