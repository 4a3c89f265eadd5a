import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { blocksOf, readPages, samplesOf, type Block, type Page } from '../support/markdown.js';
import { root } from '../support/root.js';
import { userFolder } from '../support/user-folder.js';

const execute = promisify(execFile);

/**
 * Every block of code in the documentation is held by something. A program (it imports what it needs) is run, and prints
 * what its page says: test/integration/readme.test.ts. What else is JavaScript or TypeScript compiles, here.
 */
const LANGUAGES = ['js', 'ts', 'sh', 'text', 'yaml', 'promql', 'json', 'lua', ''];
/** Runs its programs, and asks a Prometheus its expressions, in packages/core/test/integration/metrics-doc.test.ts. */
const RUN_ELSEWHERE = ['docs/metrics.md'];

/** What the fragments of the pages take for granted: what the text around them calls by these names. */
const AROUND = `
import { createCollapser, type Collapser } from '@oneflight/core';
import { collapse } from '@oneflight/express-middleware';
import { quorumCoordinator, redisCoordinator } from '@oneflight/redis-adapter';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Express } from 'express';
import { Cluster, Redis } from 'ioredis';
declare const app: Express;
declare const collapser: Collapser;
declare const redis: Redis;
declare const sku: string;
declare function mail(text: string): Promise<void>;
declare function loadMatch(id: string): Promise<object>;
declare function querySeats(block?: unknown): Promise<string[]>;
`;

const COMPILER_OPTIONS = {
  module: 'nodenext',
  target: 'es2023',
  lib: ['es2023', 'esnext.disposable'],
  types: ['node'],
  strict: true,
  skipLibCheck: true,
  noEmit: true,
};

let pages: Page[];

beforeAll(async () => {
  pages = await readPages();
});

describe('a block of code in the documentation', () => {
  it('is in a language that some test knows how to hold', () => {
    const unknown = pages.flatMap(({ path, text }) =>
      blocksOf(text).flatMap(({ language, line }) => (LANGUAGES.includes(language) ? [] : [`${path}:${line}: ${language}`])),
    );
    expect(unknown).toEqual([]);
  });

  it('that is a program is followed by what it prints, so that it is run', () => {
    const notRun = pages.flatMap(({ path, text }) => {
      if (RUN_ELSEWHERE.includes(path)) return [];
      const run = samplesOf(text).map(({ code }) => code);
      return blocksOf(text).flatMap((block) => (isProgram(block) && !run.includes(block.code) ? [`${path}:${block.line}`] : []));
    });
    expect(notRun).toEqual([]);
  });

  it('compiles where it is no program', { timeout: 60_000 }, async () => {
    const fragments = pages.flatMap(({ path, text }) =>
      blocksOf(text)
        .filter(compiles)
        .map((block) => ({ path, ...block })),
    );
    expect(fragments.length).toBeGreaterThan(8);
    expect(await problemsOf(fragments)).toEqual([]);
  });

  it('does not compile when it uses what does not exist', { timeout: 60_000 }, async () => {
    const misspelt = { path: 'a page', language: 'ts', code: 'await collapser.rum(1);\n', line: 7 };
    expect(await problemsOf([misspelt])).toEqual([expect.stringContaining("a page:7: error TS2339: Property 'rum' does not exist")]);
  });

  it('that is a shell command names scripts that there are', async () => {
    const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
    const named = pages.flatMap(({ text }) =>
      blocksOf(text).flatMap(({ language, code }) =>
        language === 'sh' ? Array.from(code.matchAll(/\bnpm (?:run )?([\w:-]+)/g), ([, name = '']) => name) : [],
      ),
    );
    expect(named.length).toBeGreaterThan(2);
    expect(named.filter((name) => !Object.hasOwn(scripts, name) && !['install', 'test'].includes(name))).toEqual([]);
  });
});

function isProgram({ language, code }: Block): boolean {
  return language === 'js' && /^import /m.test(code);
}

function compiles(block: Block): boolean {
  return ['js', 'ts'].includes(block.language) && !isProgram(block);
}

interface Fragment extends Block {
  readonly path: string;
}

/** What the compiler says of each fragment, with the page and the line that it speaks of. */
async function problemsOf(fragments: readonly Fragment[]): Promise<string[]> {
  await using folder = await userFolder([
    '@oneflight/core',
    '@oneflight/express-middleware',
    '@oneflight/redis-adapter',
    '@types/express',
    '@types/node',
    'express',
    'ioredis',
    'vitest',
  ]);
  const sources = fragments.map(({ code }) => (/^import /m.test(code) ? { before: '', code } : { before: AROUND, code }));
  await Promise.all(sources.map(({ before, code }, at) => writeFile(join(folder.path, `${at}.mts`), `${before}${code}\nexport {};\n`)));
  await writeFile(join(folder.path, 'tsconfig.json'), JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ['*.mts'] }));
  const output = await compile(folder.path);
  return Array.from(output.matchAll(/^(\d+)\.mts\((\d+),\d+\): (.+)$/gm), ([, at = '', line = '', what = '']) => {
    const fragment = fragments[Number(at)];
    const before = sources[Number(at)]?.before.split('\n').length ?? 1;
    return `${fragment?.path}:${(fragment?.line ?? 0) + Number(line) - before}: ${what}`;
  });
}

async function compile(cwd: string): Promise<string> {
  try {
    return (await execute(join(root, 'node_modules/.bin/tsc'), ['-p', '.', '--pretty', 'false'], { cwd })).stdout;
  } catch (error) {
    if (error instanceof Error && 'stdout' in error && typeof error.stdout === 'string' && error.stdout !== '') return error.stdout;
    throw error;
  }
}
