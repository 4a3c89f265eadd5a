import { waitFor } from '@oneflight/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CallReport, monotonicMs, type ReplicaProcess } from '../support/fleet.js';
import { type Cell, type Row, ROWS, type Scene } from '../support/option-rows.js';
import { setStage, type Stage } from '../support/stage.js';

/*
 * Each option that goes beyond simultaneous calls, in one process without a coordinator, in 8 processes, with Redis stopped
 * and frozen, and with the process that loads killed in the middle. Real processes, a real Redis; loads count themselves at
 * another one. What was observed is printed as a table at the end.
 */
const PROCESSES = 8;
const SURVIVORS = 3;
/** Rechecks would be counted on a slow machine, which are what a fault costs and not a flight. */
const OPTIONS = { compress: { bytesMin: 1_024 }, recheckMs: 5_000, retainMs: 20_000 };

let stage: Stage;
let alone: readonly ReplicaProcess[];
let fleet: readonly ReplicaProcess[];
const observed = new Map<string, [where: string, what: string][]>();

beforeAll(async () => {
  stage = await setStage();
  [alone, fleet] = await Promise.all([stage.fleet(1, { alone: true }), stage.fleet(PROCESSES, { options: OPTIONS })]);
  // Each is connected, and whatever it says about a slow start is behind it.
  await Promise.all(fleet.map(connected));
});

afterAll(async () => {
  await stage.close();
  const lines = [...observed].flatMap(([option, cells]) => [option, ...cells.map(([where, what]) => `  ${where.padEnd(16)} ${what}`)]);
  console.log(lines.join('\n'));
});

describe('what each option does', () => {
  it('is as the table says in one process', async () => {
    await observeAll('one process', (row) => [row.oneProcess, sceneOf(row, 'one', alone)]);
  });

  it('is as the table says in 8 processes', async () => {
    await observeAll('8 processes', (row) => [row.processes, sceneOf(row, 'many', fleet)]);
  });

  it('is as the table says when the process that loads is killed in the middle', async () => {
    const survivors = fleet.slice(0, SURVIVORS);
    await observeAll('loader killed', (row) => [row.loaderKilled, sceneOf(row, 'killed', survivors)], 4);
  });

  it.each([
    ['stopped', async () => stage.server.kill9(), async () => stage.server.restart()],
    ['frozen', async () => stage.server.pause(), async () => stage.server.resume()],
  ])('is as the table says while Redis is %s, and when it is back', async (how, goAway, comeBack) => {
    const scenes = new Map(ROWS.map((row) => [row, sceneOf(row, how, fleet)]));
    const sceneOfRow = (row: Row): Scene => scenes.get(row) ?? sceneOf(row, how, fleet);
    for (const row of ROWS) await row.redisAway.before?.(sceneOfRow(row));
    await goAway();
    await observeAll(`Redis ${how}`, (row) => [row.redisAway.during, sceneOfRow(row)]);
    await comeBack();
    await observeAll('and back', (row) => row.redisAway.after && [row.redisAway.after, sceneOfRow(row)]);
    await Promise.all(fleet.map(connected));
  });
});

describe('a value that is stored', () => {
  it.each(['staleWhileRevalidateMs', 'staleIfErrorMs'])(
    'outlives refreshes that fail until its bound, and not longer: %s',
    async (option) => {
      const boundMs = 1_500;
      const runOptions = { ttlMs: 1, [option]: boundMs };
      const key = `bound-${option}`;
      const [stored] = (await fleet[0]?.burst({ key, calls: 1, loadMs: 0, runOptions })) ?? [];
      const look = { key, calls: 1, loadMs: 0, runOptions: { ttlMs: 600_000 } };
      await waitFor(async () => (await fleet[0]?.burst(look))?.[0]?.source === 'cache', { what: 'the value to be stored' });
      const storedAt = monotonicMs();
      const answers: CallReport[] = [];
      await waitFor(async () => {
        const round = await Promise.all(fleet.map((replica) => replica.burst({ key, calls: 1, loadMs: 0, runOptions, fails: 'away' })));
        answers.push(...round.flat().filter(({ startedAt }) => startedAt > storedAt + 5));
        return round.flat().every(({ error }) => error !== undefined);
      });
      const failed = answers.filter(({ error }) => error !== undefined);
      expect(Math.min(...failed.map(({ endedAt }) => endedAt)) - (stored?.endedAt ?? 0)).toBeGreaterThan(boundMs - 10);
      const kept = answers.filter(({ error }) => error === undefined);
      expect(kept.length).toBeGreaterThan(0);
      expect(kept.map(({ source, load }) => `${source} ${load?.number}`)).toEqual(Array(kept.length).fill('stale 1'));
    },
  );
});

describe('a watcher that reads slowly', () => {
  it('is given the newest value when it is ready for one, not those it missed', async () => {
    const [reader, writer] = fleet;
    const key = 'slow-reader';
    await reader?.watchStart({ key, watchers: 1, debounceMs: 1, slow: true });
    for (let change = 0; change < 4; change++) {
      const before = await stage.loads(key);
      await writer?.change(key, 1);
      await waitFor(async () => (await stage.loads(key)) > before && (await reader?.stats())?.flights === 0, { what: 'a reload' });
    }
    expect(await reader?.watchNext(key)).toBe(await stage.loads(key));
    expect((await reader?.watched(key))?.values[0]).toHaveLength(2);
    expect(await reader?.watchStop(key)).toEqual([true]);
  });
});

function sceneOf({ option }: Row, where: string, replicas: readonly ReplicaProcess[]): Scene {
  return {
    stage,
    key: `${option}-${where}`,
    replicas,
    async more() {
      const [replica] = await stage.fleet(1, { options: OPTIONS });
      if (replica === undefined) throw new Error('expected a process');
      await connected(replica);
      return replica;
    },
  };
}

/** Looks at one cell of each row, so many at a time, and compares what all of them say. */
async function observeAll(where: string, cellOf: (row: Row) => readonly [Cell, Scene] | undefined, atATime = 1): Promise<void> {
  const cells = ROWS.flatMap((row) => {
    const found = cellOf(row);
    return found === undefined ? [] : [{ option: row.option, cell: found[0], scene: found[1] }];
  });
  const left = cells.toReversed();
  const seen: Record<string, string> = {};
  const work = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const { option, cell, scene } = next;
      seen[option] = await cell[1](scene).catch((error: Error) => `failed: ${error.message}`);
      observed.set(option, [...(observed.get(option) ?? []), [where, seen[option]]]);
    }
  };
  await Promise.all(Array.from({ length: atATime }, work));
  expect(seen).toEqual(Object.fromEntries(cells.map(({ option, cell }) => [option, cell[0]])));
}

/** Resolves when the process reaches Redis. */
async function connected(replica: ReplicaProcess): Promise<void> {
  const hello = async (): Promise<boolean> => {
    const [answer] = await replica.burst({ key: `hello-${replica.child.pid}`, calls: 1, loadMs: 0 });
    return answer?.source === 'leader';
  };
  await waitFor(hello, { timeoutMs: 30_000, everyMs: 100, what: 'a process to reach Redis' });
}
