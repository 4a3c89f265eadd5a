import { once } from 'node:events';
import { waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { type CallReport, monotonicMs, type ReplicaProcess } from './fleet.js';
import { type Stage, untilOpened } from './stage.js';

/** The processes that a cell of the table works with, and a key of its own. */
export interface Scene {
  readonly stage: Stage;
  readonly key: string;
  readonly replicas: readonly ReplicaProcess[];
  /** Starts one more process, which the cell may kill. */
  more(): Promise<ReplicaProcess>;
}

/** What is to be observed, in words, and how it is observed. */
export type Cell = readonly [expected: string, observe: (scene: Scene) => Promise<string>];

/** Some of it has to be arranged before Redis goes away, and some shows only once it is back. */
export interface AwayCell {
  readonly before?: (scene: Scene) => Promise<void>;
  readonly during: Cell;
  readonly after?: Cell;
}

export interface Row {
  readonly option: string;
  readonly oneProcess: Cell;
  readonly processes: Cell;
  readonly redisAway: AwayCell;
  readonly loaderKilled: Cell;
}

/** Longer than any test: what is stored does not end by itself. */
const LONG = 600_000;
const CALLS = 8;
const IDS = Array.from({ length: 12 }, (_, id) => id);
const FAILS = 'database away';
const PATIENT = { timeoutMs: 60_000 };

type Request = Partial<Omit<Parameters<ReplicaProcess['burst']>[0], 'key'>>;

// ---- What a cell does ---------------------------------------------------------------------------------------------------

/** Eight calls at once: one in each process, or all in the one that there is. */
async function everyone({ replicas, key }: Scene, request: Request): Promise<CallReport[]> {
  const calls = replicas.length === 1 ? CALLS : 1;
  return (await Promise.all(replicas.map((replica) => replica.burst({ key, calls, loadMs: 0, ...request })))).flat();
}

async function first({ replicas, key }: Scene, request: Request): Promise<CallReport | undefined> {
  return (await replicas[0]?.burst({ key, calls: 1, loadMs: 0, ...request }))?.[0];
}

/** Loads go on until every process has asked. */
function untilAllAsked({ replicas, key }: Scene): { barrier: { key: string; count: number } } {
  return { barrier: { key: `asked:${key}`, count: replicas.length } };
}

/** How the calls were answered, each way with its number; a load that all of them shared is one way. */
function tally(answers: readonly CallReport[]): string {
  const counts = new Map<string, number>();
  for (const { source, error } of answers) {
    const way = error?.message ?? (['leader', 'local', 'remote'].includes(source ?? '') ? 'loaded' : String(source));
    counts.set(way, (counts.get(way) ?? 0) + 1);
  }
  return Array.from(counts, ([way, count]) => `${count} ${way}`)
    .toSorted()
    .join(', ');
}

async function loadsOf({ stage, key }: Scene): Promise<string> {
  return plural(await stage.loads(key), 'load');
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

async function loadsOfIds({ stage, key }: Scene): Promise<number> {
  return (await Promise.all(IDS.map((id) => stage.loads(`${key}:${id}`)))).reduce((sum, count) => sum + count, 0);
}

/** A leader answers before it settles: until then others get the outcome of its flight. */
async function untilStored(scene: Scene, asked: Request): Promise<void> {
  const answers = ['linger', 'cache', undefined];
  await waitFor(async () => answers.includes((await first(scene, asked))?.source), { what: 'the outcome to be stored' });
}

/** A value that is no longer fresh one millisecond later. */
async function storeStale(scene: Scene, runOptions: object): Promise<void> {
  await first(scene, { runOptions });
  await untilStored(scene, { runOptions: { ...runOptions, ttlMs: LONG } });
  const storedAt = monotonicMs();
  await waitFor(() => monotonicMs() > storedAt + 5);
}

/** A process dies while it loads what the others wait for. `wait` is what they do; each counts itself at the barrier. */
async function killLoader<R>(
  scene: Scene,
  load: (victim: ReplicaProcess, barrier: { key: string; count: number }) => Promise<unknown>,
  wait: (replica: ReplicaProcess, barrier: { key: string; count: number }) => Promise<R>,
  hasBegun: () => Promise<boolean> = async () => (await scene.stage.loads(scene.key)) > 0,
): Promise<R[]> {
  const { stage, key, replicas } = scene;
  const victim = await scene.more();
  load(victim, untilOpened(`held:${key}`)).catch(() => undefined);
  await waitFor(hasBegun, { what: `a load of ${key}` });
  const answers = Promise.all(replicas.map((replica) => wait(replica, { key: `there:${key}`, count: 0 })));
  await waitFor(async () => Number(await stage.control.get(`there:${key}`)) >= replicas.length, { what: `followers of ${key}` });
  await kill(victim);
  return answers;
}

async function kill(victim: ReplicaProcess): Promise<void> {
  const exited = once(victim.child, 'exit');
  victim.kill();
  await exited;
}

// ---- What is stored ---------------------------------------------------------------------------------------------------

/** An outcome answers the calls that come after it, and nothing is stored while Redis is away. */
function storing(option: string, runOptions: object, answer: string, request: Request = {}): Row {
  const asked = { ...request, runOptions: { ...PATIENT, ...runOptions } };
  const stores = async (scene: Scene): Promise<string> => {
    await first(scene, asked);
    await untilStored(scene, asked);
    const after = await everyone(scene, asked);
    return `${await loadsOf(scene)}, then ${tally(after)}`;
  };
  return {
    option,
    oneProcess: [`1 load, then 8 ${answer}`, stores],
    processes: [`1 load, then 8 ${answer}`, stores],
    redisAway: notStored(asked),
    loaderKilled: [
      `2 loads for 3 who waited, then 3 ${answer}`,
      async (scene) => {
        const { key } = scene;
        const waited = await killLoader(
          scene,
          (victim, barrier) => victim.burst({ key, calls: 1, loadMs: 0, ...asked, barrier }),
          (replica, barrier) => replica.burst({ key, calls: 1, loadMs: 0, ...asked, barrier }),
        );
        await untilStored(scene, asked);
        const after = await everyone(scene, asked);
        return `${await loadsOf(scene)} for ${waited.flat().length} who waited, then ${tally(after)}`;
      },
    ],
  };
}

/** Every call loads, in its own process, although each asked for what is stored. */
function notStored(asked: Request): AwayCell {
  const answer = asked.fails ?? 'degraded';
  return {
    during: [
      `16 ${answer}, 16 loads`,
      async (scene) => {
        const answers = [...(await everyone(scene, asked)), ...(await everyone(scene, asked))];
        return `${tally(answers)}, ${await loadsOf(scene)}`;
      },
    ],
  };
}

function staleWhileRevalidate(): Row {
  const runOptions = { ...PATIENT, ttlMs: 1, staleWhileRevalidateMs: LONG };
  const refreshes = async (scene: Scene): Promise<string> => {
    await storeStale(scene, runOptions);
    const answers = await everyone(scene, { runOptions, barrier: untilOpened(`held:${scene.key}`) });
    await waitFor(async () => (await scene.stage.loads(scene.key)) === 2, { what: 'the refresh' });
    await scene.stage.open(`held:${scene.key}`);
    await isStored(scene, 2);
    const refreshed = await loadsOf(scene);
    const failing = await everyone(scene, { runOptions, fails: FAILS });
    await waitFor(async () => (await scene.stage.loads(scene.key)) > 2, { what: 'a refresh that fails' });
    const afterwards = await everyone(scene, { runOptions, fails: FAILS });
    return `${tally(answers)} at once, ${refreshed}; ${tally([...failing, ...afterwards])} when refreshes fail`;
  };
  return {
    option: 'staleWhileRevalidateMs',
    oneProcess: ['8 stale at once, 2 loads; 16 stale when refreshes fail', refreshes],
    processes: ['8 stale at once, 2 loads; 16 stale when refreshes fail', refreshes],
    redisAway: notStored({ runOptions }),
    loaderKilled: [
      '3 stale at once, then refreshed by another',
      async (scene) => {
        const { stage, key } = scene;
        await storeStale(scene, runOptions);
        const victim = await scene.more();
        await victim.burst({ key, calls: 1, loadMs: 0, runOptions, barrier: untilOpened(`held:${key}`) });
        await waitFor(async () => (await stage.loads(key)) === 2, { what: 'the refresh' });
        await kill(victim);
        const answers = await everyone(scene, { runOptions });
        await waitFor(async () => tally(await everyone(scene, { runOptions })) === '3 stale' && (await stage.loads(key)) > 2, {
          timeoutMs: 30_000,
          what: 'another refresh',
        });
        return `${tally(answers)} at once, then refreshed by another`;
      },
    ],
  };
}

/** The value of that load is what is stored. */
async function isStored(scene: Scene, number: number): Promise<void> {
  await waitFor(async () => (await first(scene, { runOptions: { ttlMs: LONG } }))?.load?.number === number, {
    what: `load ${number} to be stored`,
  });
}

function staleIfError(): Row {
  const runOptions = { ...PATIENT, ttlMs: 1, staleIfErrorMs: LONG };
  const keeps = async (scene: Scene): Promise<string> => {
    await storeStale(scene, runOptions);
    const one = await everyone(scene, { runOptions, fails: FAILS, ...untilAllAsked(scene) });
    const loads = await loadsOf(scene);
    const two = await everyone(scene, { runOptions, fails: FAILS });
    return `${tally(one)}, ${loads}; ${tally(two)} afterwards`;
  };
  return {
    option: 'staleIfErrorMs',
    oneProcess: ['8 stale, 2 loads; 8 stale afterwards', keeps],
    processes: ['8 stale, 2 loads; 8 stale afterwards', keeps],
    redisAway: notStored({ runOptions, fails: FAILS }),
    loaderKilled: [
      '3 stale, 3 loads',
      async (scene) => {
        const { stage, key } = scene;
        await storeStale(scene, runOptions);
        const waited = await killLoader(
          scene,
          (victim, barrier) => victim.burst({ key, calls: 1, loadMs: 0, runOptions, barrier }),
          (replica, barrier) => replica.burst({ key, calls: 1, loadMs: 0, runOptions, fails: FAILS, barrier }),
          async () => (await stage.loads(key)) === 2,
        );
        return `${tally(waited.flat())}, ${await loadsOf(scene)}`;
      },
    ],
  };
}

function earlyRefresh(): Row {
  // A value whose load took long is likely to be refreshed before it ends, whoever asks.
  const runOptions = { ...PATIENT, ttlMs: 6_000, earlyRefresh: true };
  const refreshesInTime = async (scene: Scene): Promise<string> => {
    await first(scene, { runOptions, loadMs: 1_500 });
    await untilStored(scene, { runOptions: { ttlMs: LONG } });
    const answers: CallReport[] = [];
    await waitFor(async () => {
      answers.push(...(await everyone(scene, { runOptions })));
      return (await scene.stage.loads(scene.key)) === 2;
    });
    return `${[...new Set(answers.map(({ source }) => source))].join()} only, refreshed before it ended`;
  };
  return {
    option: 'earlyRefresh',
    oneProcess: ['cache only, refreshed before it ended', refreshesInTime],
    processes: ['cache only, refreshed before it ended', refreshesInTime],
    redisAway: notStored({ runOptions }),
    loaderKilled: [
      '3 answered, then loaded by another',
      async (scene) => {
        const { stage, key } = scene;
        await first(scene, { runOptions, loadMs: 1_500 });
        const victim = await scene.more();
        await waitFor(async () => {
          await victim.burst({ key, calls: 1, loadMs: 0, runOptions, barrier: untilOpened(`held:${key}`) });
          return (await stage.loads(key)) === 2;
        });
        await kill(victim);
        const answers = await everyone(scene, { runOptions });
        await waitFor(async () => (await first(scene, { runOptions }))?.load?.number === 3, { timeoutMs: 30_000 });
        return `${answers.filter(({ error }) => error === undefined).length} answered, then loaded by another`;
      },
    ],
  };
}

// ---- Effects, changes, and many keys ----------------------------------------------------------------------------------

function onceRow(): Row {
  const all = async ({ replicas, key }: Scene): Promise<string[]> => {
    const calls = replicas.length === 1 ? CALLS : 1;
    return (await Promise.all(replicas.map((replica) => replica.once({ key, calls, ttlMs: LONG })))).flat();
  };
  const told = (results: readonly string[]): string =>
    ['ran', 'skipped'].map((result) => `${results.filter((each) => each === result).length} ${result}`).join(', ');
  const runsOnce = async (scene: Scene): Promise<string> =>
    `${told([...(await all(scene)), ...(await all(scene))])}, ${await loadsOf(scene)}`;
  return {
    option: 'once',
    oneProcess: ['1 ran, 15 skipped, 1 load', runsOnce],
    processes: ['1 ran, 15 skipped, 1 load', runsOnce],
    redisAway: { during: ['8 ran, 8 skipped, 8 loads', runsOnce] },
    loaderKilled: [
      '1 ran, 2 skipped, 2 loads',
      async (scene) => {
        const request = { key: scene.key, calls: 1, ttlMs: LONG };
        const results = await killLoader(
          scene,
          (victim, barrier) => victim.once({ ...request, barrier }),
          (replica, barrier) => replica.once({ ...request, barrier }),
        );
        return `${told(results.flat())}, ${await loadsOf(scene)}`;
      },
    ],
  };
}

function watchRow(): Row {
  const start = async ({ replicas, key }: Scene, watchers: number): Promise<void> => {
    await Promise.all(replicas.map((replica) => replica.watchStart({ key, watchers, debounceMs: 300 })));
  };
  /** How many values each watcher was given. */
  const given = async ({ replicas, key }: Scene): Promise<number[]> =>
    (await Promise.all(replicas.map((replica) => replica.watched(key)))).flatMap(({ values }) => values.map(({ length }) => length));
  const reloadsOnce = async (scene: Scene): Promise<string> => {
    const { stage, key, replicas } = scene;
    await start(scene, replicas.length === 1 ? CALLS : 1);
    const before = await stage.loads(key);
    await replicas[0]?.change(key, 5);
    await waitFor(async () => (await given(scene)).every((count) => count === 2), { what: 'every watcher to be told' });
    const reloads = (await stage.loads(key)) - before;
    const counts = await given(scene);
    const ended = (await Promise.all(replicas.map((replica) => replica.watchStop(key)))).flat();
    return `${counts.length} told once of 5 changes, ${plural(reloads, 'reload')}, ${ended.filter(Boolean).length} ended by their signal`;
  };
  return {
    option: 'watch',
    oneProcess: ['8 told once of 5 changes, 1 reload, 8 ended by their signal', reloadsOnce],
    processes: ['8 told once of 5 changes, 1 reload, 8 ended by their signal', reloadsOnce],
    redisAway: {
      before: (scene) => start(scene, 1),
      during: [
        'a change is seen where it is made: 2,1,1,1,1,1,1,1 values',
        async (scene) => {
          await scene.replicas[0]?.tryInvalidate(scene.key);
          await waitFor(async () => (await given(scene))[0] === 2, { what: 'the watcher beside the change' });
          return `a change is seen where it is made: ${(await given(scene)).join()} values`;
        },
      ],
      after: [
        'everybody reloads once Redis is back',
        async (scene) => {
          // What could not be sent is sent when the key is next asked for where it was invalidated.
          const back = async (): Promise<boolean> => {
            await first(scene, { runOptions: PATIENT });
            return (await given(scene)).every((count, index) => count > (index === 0 ? 2 : 1));
          };
          await waitFor(back, { timeoutMs: 30_000, what: 'every watcher to reload' });
          await Promise.all(scene.replicas.map((replica) => replica.watchStop(scene.key)));
          return 'everybody reloads once Redis is back';
        },
      ],
    },
    loaderKilled: [
      'the one that is left is told, 2 loads for the change',
      async ({ stage, key, more, replicas }) => {
        const two = await Promise.all([more(), more()]);
        const barrier = { key: `open:${key}`, count: 1 };
        await stage.control.set(barrier.key, 1);
        for (const replica of two) await replica.watchStart({ key, watchers: 1, debounceMs: 20, barrier });
        const before = await stage.loads(key);
        await stage.control.set(barrier.key, 0);
        await replicas[0]?.change(key, 1);
        await waitFor(async () => (await stage.loads(key)) > before, { what: 'the reload' });
        const pid = Number(await stage.control.get(`loader:${key}`));
        const victim = two.find(({ child }) => child.pid === pid);
        if (victim !== undefined) await kill(victim);
        await stage.control.set(barrier.key, 1);
        const left = two.find((replica) => replica !== victim);
        await waitFor(async () => ((await left?.watched(key))?.values[0]?.length ?? 0) > 1, { timeoutMs: 30_000, what: 'the one left' });
        return `the one that is left is told, ${(await stage.loads(key)) - before} loads for the change`;
      },
    ],
  };
}

function warmRow(): Row {
  const runOptions = { ...PATIENT, ttlMs: LONG };
  const warms = async (scene: Scene): Promise<string> => {
    const reports = await Promise.all(scene.replicas.map((replica) => replica.warm({ name: scene.key, ids: IDS, runOptions })));
    const done = reports.every(({ loaded, shared, progress }) => loaded + shared === IDS.length && progress === IDS.length);
    return `${await loadsOfIds(scene)} loads, ${done ? 'each process done with 12' : JSON.stringify(reports)}`;
  };
  return {
    option: 'warm',
    oneProcess: ['12 loads, each process done with 12', warms],
    processes: ['12 loads, each process done with 12', warms],
    redisAway: { during: ['96 loads, each process done with 12', warms] },
    loaderKilled: [
      '24 loads, each process done with 12',
      async (scene) => {
        const victim = await scene.more();
        const barrier = untilOpened(`held:${scene.key}`);
        victim.warm({ name: scene.key, ids: IDS, runOptions, concurrency: IDS.length, barrier }).catch(() => undefined);
        await waitFor(async () => (await loadsOfIds(scene)) === IDS.length, { what: 'the warming to begin' });
        const answer = warms(scene);
        await kill(victim);
        return answer;
      },
    ],
  };
}

function runManyRow(): Row {
  const runOptions = PATIENT;
  const wholes = (reports: readonly { values: readonly unknown[] }[]): string =>
    `${reports.filter(({ values }) => values.length === IDS.length).length} answered in full`;
  const loads = async (scene: Scene): Promise<string> => {
    const calls = scene.replicas.length === 1 ? CALLS : 1;
    const request = { name: scene.key, ids: IDS, runOptions, ...untilAllAsked(scene) };
    const each = scene.replicas.flatMap((replica) => Array.from({ length: calls }, () => replica.many(request)));
    return `${wholes(await Promise.all(each))}, ${await loadsOfIds(scene)} loads`;
  };
  return {
    option: 'runMany',
    oneProcess: ['8 answered in full, 12 loads', loads],
    processes: ['8 answered in full, 12 loads', loads],
    redisAway: { during: ['8 answered in full, 96 loads', loads] },
    loaderKilled: [
      '3 answered in full, 24 loads',
      async (scene) => {
        const request = { name: scene.key, ids: IDS, runOptions };
        const reports = await killLoader(
          scene,
          (victim, barrier) => victim.many({ ...request, barrier }),
          (replica, barrier) => replica.many({ ...request, barrier }),
          async () => (await loadsOfIds(scene)) === IDS.length,
        );
        return `${wholes(reports)}, ${await loadsOfIds(scene)} loads`;
      },
    ],
  };
}

// ---- How values are handed over ---------------------------------------------------------------------------------------

function isolateRow(): Row {
  const calls = ({ replicas }: Scene): number => (replicas.length === 1 ? CALLS : 4);
  const whole = (reports: readonly { whole: number; calls: number }[]): string =>
    `${reports.reduce((sum, report) => sum + report.whole, 0)} of ${reports.reduce((sum, report) => sum + report.calls, 0)} unharmed`;
  const clones = async (scene: Scene): Promise<string> => {
    const request = { key: scene.key, calls: calls(scene), isolate: 'clone', ...untilAllAsked(scene) };
    return whole(await Promise.all(scene.replicas.map((replica) => replica.shuffles(request))));
  };
  return {
    option: 'isolate',
    oneProcess: [
      "8 of 8 unharmed, 1 of 8 unharmed with 'none'",
      async (scene) => {
        const request = { key: `${scene.key}-none`, calls: CALLS, isolate: 'none' };
        const none = await Promise.all(scene.replicas.map((replica) => replica.shuffles(request)));
        return `${await clones(scene)}, ${whole(none)} with 'none'`;
      },
    ],
    processes: ['32 of 32 unharmed', clones],
    redisAway: { during: ['32 of 32 unharmed', clones] },
    loaderKilled: [
      '12 of 12 unharmed',
      async (scene) => {
        const request = { key: scene.key, calls: 4, isolate: 'clone' };
        const reports = await killLoader(
          scene,
          (victim, barrier) => victim.shuffles({ ...request, barrier }),
          (replica, barrier) => replica.shuffles({ ...request, barrier }),
        );
        return whole(reports);
      },
    ],
  };
}

function codecRow(): Row {
  const counted = (answers: readonly { isPrice: boolean }[]): string => `${answers.filter(({ isPrice }) => isPrice).length} prices`;
  const travels = async (scene: Scene): Promise<string> => {
    const calls = scene.replicas.length === 1 ? CALLS : 1;
    const request = { key: scene.key, calls, withCodec: true, ...untilAllAsked(scene) };
    const answers = (await Promise.all(scene.replicas.map((replica) => replica.prices(request)))).flat();
    return `${counted(answers)}, ${await loadsOf(scene)}`;
  };
  return {
    option: 'codec',
    oneProcess: ['8 prices, 1 load', travels],
    processes: [
      '8 prices, 1 load; without it 8 loads',
      async (scene) => {
        const answer = await travels(scene);
        const plain = { ...scene, key: `${scene.key}-plain` };
        const request = { key: plain.key, calls: 1, withCodec: false, ...untilAllAsked(plain) };
        await Promise.all(scene.replicas.map((replica) => replica.prices(request)));
        return `${answer}; without it ${await loadsOf(plain)}`;
      },
    ],
    redisAway: { during: ['8 prices, 8 loads', travels] },
    loaderKilled: [
      '3 prices, 2 loads',
      async (scene) => {
        const request = { key: scene.key, calls: 1, withCodec: true };
        const answers = await killLoader(
          scene,
          (victim, barrier) => victim.prices({ ...request, barrier }),
          (replica, barrier) => replica.prices({ ...request, barrier }),
        );
        return `${counted(answers.flat())}, ${await loadsOf(scene)}`;
      },
    ],
  };
}

function compressRow(): Row {
  const text = Array.from({ length: 5_000 }, (_, seat) => `seat ${seat} in row ${seat % 40} is free`).join();
  const request = { value: text, runOptions: { ...PATIENT, ttlMs: LONG } };
  const whole = (answers: readonly CallReport[]): string => `${answers.filter(({ load }) => load?.value === text).length} whole`;
  /** The largest value in Redis, beside its size without compression. */
  const stored = async ({ stage }: Scene): Promise<string> => {
    const bytes = await largestStored(stage);
    if (bytes === 0) return 'nothing in Redis';
    return bytes < text.length / 3 ? 'stored in less than a third' : `stored in ${bytes} bytes`;
  };
  const answers = async (scene: Scene): Promise<string> => {
    const all = [...(await everyone(scene, { ...request, ...untilAllAsked(scene) })), ...(await everyone(scene, request))];
    return `${whole(all)}, ${await loadsOf(scene)}`;
  };
  return {
    option: 'compress',
    oneProcess: ['16 whole, 1 load, nothing in Redis', async (scene) => `${await answers(scene)}, ${await stored(scene)}`],
    processes: ['16 whole, 1 load, stored in less than a third', async (scene) => `${await answers(scene)}, ${await stored(scene)}`],
    redisAway: { during: ['16 whole, 16 loads', answers] },
    loaderKilled: [
      '3 whole, 2 loads',
      async (scene) => {
        const { key } = scene;
        const waited = await killLoader(
          scene,
          (victim, barrier) => victim.burst({ key, calls: 1, loadMs: 0, ...request, barrier }),
          (replica, barrier) => replica.burst({ key, calls: 1, loadMs: 0, ...request, barrier }),
        );
        return `${whole(waited.flat())}, ${await loadsOf(scene)}`;
      },
    ],
  };
}

async function largestStored({ server }: Stage): Promise<number> {
  const probe = new Redis(server.url);
  try {
    const sizes = (await probe.keys('*:v')).map((key) => probe.hstrlen(key, 'o'));
    return Math.max(0, ...(await Promise.all(sizes)).filter((bytes) => bytes > 1_024));
  } finally {
    probe.disconnect();
  }
}

export const ROWS: readonly Row[] = [
  storing('lingerMs', { lingerMs: LONG }, 'linger'),
  storing('ttlMs', { ttlMs: LONG }, 'cache'),
  staleWhileRevalidate(),
  staleIfError(),
  storing('negativeTtlMs', { negativeTtlMs: LONG }, FAILS, { fails: FAILS }),
  earlyRefresh(),
  onceRow(),
  watchRow(),
  warmRow(),
  runManyRow(),
  isolateRow(),
  codecRow(),
  compressRow(),
];
