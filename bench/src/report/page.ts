import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NODES } from '../arguments.js';
import { WARM_UP } from '../interleave.js';
import { SCENARIOS } from '../scenarios/index.js';
import { LEFT_OUT, loadSystem, systemIds } from '../systems/index.js';
import { drawBars } from './chart.js';
import type { Machine } from './machine.js';
import type { Result, Table } from './result.js';
import { ageNote, written } from './words.js';

/*
 * docs/benchmarks.md is made from docs/benchmarks/results.json, which holds the last full run of each scenario. So a run
 * that was stopped can go on with the scenarios that are left.
 */
const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = `${root}docs/benchmarks`;
const resultsFile = `${folder}/results.json`;
const pageFile = `${root}docs/benchmarks.md`;

export interface Kept extends Result {
  readonly machine: Machine;
  readonly quick?: boolean;
  /** Processes that wanted to run when it was over, as the system counts them. */
  readonly load?: number;
}

/** Keeps what a scenario found, in place of what an earlier run found. */
export async function keep(scenario: string, kept: Kept): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(resultsFile, `${JSON.stringify({ ...(await readKept()), [scenario]: kept }, null, 2)}\n`);
}

/** Writes the page and its plots; resolves with the page's name. */
export async function writePage(): Promise<string> {
  const all = await readKept();
  const kept = [...SCENARIOS.keys()].flatMap((name) => (all[name] === undefined ? [] : [{ name, result: all[name] }]));
  for (const { charts } of kept.map(({ result }) => result)) {
    for (const chart of charts) await writeFile(`${folder}/${chart.id}.svg`, drawBars(chart));
  }
  await writeFile(pageFile, await pageText(kept));
  await promisify(execFile)(`${root}node_modules/.bin/oxfmt`, [pageFile, resultsFile], { cwd: root });
  return 'docs/benchmarks.md';
}

async function readKept(): Promise<Record<string, Kept>> {
  try {
    const kept: unknown = JSON.parse(await readFile(resultsFile, 'utf8'));
    return isKept(kept) ? kept : {};
  } catch {
    return {};
  }
}

/** Our own file: whoever edits it by hand gets what comes of it. */
function isKept(value: unknown): value is Record<string, Kept> {
  return typeof value === 'object' && value !== null;
}

async function pageText(kept: readonly { readonly name: string; readonly result: Kept }[]): Promise<string> {
  const targets: Table = {
    title: '',
    columns: ['what', 'target', 'measured', ''],
    rows: kept.flatMap(({ result }) =>
      result.targets.map(({ what, target, measured, met }) => [what, target, measured, met ? 'met' : '**missed**']),
    ),
  };
  return [
    '# Benchmarks',
    `Made by \`npm run bench\` (\`npm run bench -- --help\`), which measures oneflight and what a user would pick instead side by side: one after the other, round by round, each round beginning with another one, every system with a Redis and processes of its own. Where processes ask over Redis, each of them has answered ${WARM_UP.bursts} bursts of ${WARM_UP.callers} callers before: what is compared is a service that runs, not one that has just started. Numbers are medians. Compare ratios, not times: times are those of one machine.`,
    'Where a target is missed, [performance](performance.md) says what the limit is and why.',
    '## Targets',
    tableMarkdown(targets),
    ...kept.map(({ name, result }) => section(name, result)),
    '## Systems',
    'Packages are pinned in [bench/package.json](../bench/package.json). Each is set up in a file of its own in [bench/src/systems](../bench/src/systems), which says why that is its best. A cache answers from what it keeps: its numbers are for older answers than those of the others.',
    tableMarkdown(await systemsTable()),
    ...LEFT_OUT.map(({ name, why }) => `Left out: \`${name}\`, because ${why}.`),
    '',
  ].join('\n\n');
}

async function systemsTable(): Promise<Table> {
  const systems = await Promise.all(systemIds().map(loadSystem));
  return {
    title: '',
    columns: ['system', 'answers', 'set up'],
    rows: systems.map((system) => [system.name, ageNote(system), system.setup]),
  };
}

function section(name: string, { title, how, tables, charts, machine, quick = false, load }: Kept): string {
  const { cores, memoryGiB, node, redis, platform, date } = machine;
  const busy =
    load === undefined || load <= 4 * cores
      ? ''
      : `; other work kept the machine busy (load average ${load.toFixed(0)}), so take no time here for more than a hint`;
  return [
    `## ${title}`,
    how,
    ...tables.flatMap((table) => [...(table.title === '' ? [] : [`### ${table.title}`]), tableMarkdown(table), table.note ?? []].flat()),
    ...charts.map(({ id, title: alt }) => `![${alt}](benchmarks/${id}.svg)`),
    `\`npm run bench -- --scenario ${name}${quick ? ' --quick --page' : ''}${nodeFlag(node)}\` on ${cores} cores, ${memoryGiB} GiB, ${platform}, Node ${node}, Redis ${redis}, ${date}${busy}.`,
  ].join('\n\n');
}

/** How to run it on the same Node, where that is one which `npm run bench` brings. */
function nodeFlag(version: string): string {
  const [major = ''] = version.split('.');
  return NODES.includes(major) ? ` --node ${major}` : '';
}

function tableMarkdown({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = columns.map((_, index) => (rows.some((row) => typeof row[index] === 'number') ? '--:' : '---'));
  return [line(columns), line(rule), ...rows.map((row) => line(row.map(written)))].join('\n');
}
