import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../support/root.js';

const execute = promisify(execFile);

interface Planted {
  /** For the title: what the code does. */
  readonly what: string;
  readonly code: string;
  /** Where it lies; a name is made up for a folder. */
  readonly at: string;
}

const core = 'packages/core/src/';
const testing = 'packages/core/src/testing/';
const adapter = 'packages/redis-adapter/src/';
const middleware = 'packages/express-middleware/src/';
const unit = 'packages/core/test/unit/';

/** What each rule must catch. A rule that does not fire on its own violation is no guard. */
const violations: readonly (Planted & { readonly rule: string })[] = [
  { rule: 'no-restricted-imports', at: core, what: 'imports ioredis', code: `import { Redis } from 'ioredis';\nvoid Redis;` },
  { rule: 'no-restricted-imports', at: core, what: 'imports express', code: `import express from 'express';\nvoid express;` },
  {
    rule: 'no-restricted-imports',
    at: core,
    what: 'imports a type of HTTP',
    code: `import type { Server } from 'node:http';\nexport type A = Server;`,
  },
  {
    rule: 'no-restricted-imports',
    at: core,
    what: 'imports redis-adapter',
    code: `import { redisCoordinator } from '@oneflight/redis-adapter';\nvoid redisCoordinator;`,
  },
  {
    rule: 'no-restricted-imports',
    at: core,
    what: 'reaches into redis-adapter',
    code: `import { a } from '../../redis-adapter/src/index.js';\nvoid a;`,
  },
  { rule: 'no-restricted-imports', at: core, what: 'imports vitest', code: `import { it } from 'vitest';\nvoid it;` },
  {
    rule: 'no-restricted-imports',
    at: core,
    what: 'imports timers',
    code: `import { setTimeout } from 'node:timers/promises';\nvoid setTimeout;`,
  },
  { rule: 'no-restricted-globals', at: core, what: 'sets a timer', code: `setTimeout(() => {}, 1);` },
  { rule: 'no-restricted-globals', at: core, what: 'waits for the next turn', code: `setImmediate(() => {});` },
  { rule: 'no-restricted-globals', at: core, what: 'reads the monotonic clock', code: `export const now = performance.now();` },
  { rule: 'no-restricted-properties', at: core, what: 'sets a timer by way of globalThis', code: `globalThis.setTimeout(() => {}, 1);` },
  { rule: 'no-restricted-properties', at: core, what: 'reads the wall clock', code: `export const now = Date.now();` },
  { rule: 'no-restricted-properties', at: core, what: 'rolls dice', code: `export const chance = Math.random();` },
  { rule: 'no-restricted-imports', at: testing, what: 'imports ioredis', code: `import { Redis } from 'ioredis';\nvoid Redis;` },
  { rule: 'no-restricted-globals', at: testing, what: 'sets a timer', code: `setTimeout(() => {}, 1);` },
  { rule: 'no-restricted-properties', at: testing, what: 'rolls dice', code: `export const chance = Math.random();` },
  {
    rule: 'no-restricted-imports',
    at: middleware,
    what: 'imports redis-adapter',
    code: `import { redisCoordinator } from '@oneflight/redis-adapter';\nvoid redisCoordinator;`,
  },
  { rule: 'no-restricted-imports', at: middleware, what: 'imports ioredis', code: `import { Redis } from 'ioredis';\nvoid Redis;` },
  {
    rule: 'no-restricted-imports',
    at: middleware,
    what: 'imports testkit',
    code: `import { freePort } from '@oneflight/testkit';\nvoid freePort;`,
  },
  {
    rule: 'no-restricted-imports',
    at: adapter,
    what: 'imports express-middleware',
    code: `import { collapse } from '@oneflight/express-middleware';\nvoid collapse;`,
  },
  { rule: 'no-restricted-imports', at: adapter, what: 'imports express', code: `import express from 'express';\nvoid express;` },
  { rule: 'no-restricted-imports', at: adapter, what: 'imports vitest', code: `import { it } from 'vitest';\nvoid it;` },
  { rule: 'no-floating-promises', at: core, what: 'forgets a promise', code: `const load = async () => 1;\nload();` },
  { rule: 'no-floating-promises', at: unit, what: 'forgets a promise in a test', code: `const load = async () => 1;\nload();` },
  {
    rule: 'no-misused-promises',
    at: core,
    what: 'gives a promise to a callback that expects none',
    code: `const load = async () => {};\n[1].forEach(load);`,
  },
  { rule: 'no-explicit-any', at: core, what: 'says any', code: `export const a: any = 1;` },
  { rule: 'no-non-null-assertion', at: core, what: 'says !', code: `export const first = (list: string[]): string => list[0]!;` },
  { rule: 'no-unsafe-type-assertion', at: core, what: 'casts', code: `export const cast = (value: unknown): string => value as string;` },
  {
    rule: 'consistent-type-imports',
    at: core,
    what: 'imports a type as if it were a value',
    code: `import { Codec } from './codec.js';\nexport type A = Codec;`,
  },
  { rule: 'no-unused-vars', at: core, what: 'uses not what it names', code: `const unused = 1;` },
  { rule: 'no-unused-vars', at: 'scripts/', what: 'uses not what it names in a script', code: `const unused = 1;` },
  { rule: 'no-default-export', at: core, what: 'exports without a name', code: `export default 1;` },
  { rule: 'no-console', at: core, what: 'prints', code: `console.log('here');` },
  { rule: 'ban-ts-comment', at: core, what: 'silences the compiler', code: `// @ts-ignore\nexport const a: string = 1;` },
  { rule: 'max-lines-per-function', at: core, what: 'has a function of 71 lines', code: functionOfLines(71) },
  { rule: 'switch-exhaustiveness-check', at: core, what: 'forgets a case', code: switchWithoutCase() },
  { rule: 'no-focused-tests', at: unit, what: 'runs one test only', code: `import { it } from 'vitest';\nit.only('does', () => {});` },
  { rule: 'no-disabled-tests', at: unit, what: 'skips a test', code: `import { it } from 'vitest';\nit.skip('does', () => {});` },
];

/** What the same rules must leave alone. */
const allowed: readonly Planted[] = [
  {
    at: `${core}clock.ts`,
    what: 'the one file with a clock',
    code: `export const clock = { now: () => performance.now(), wait: (then: () => void) => setTimeout(then, 1) };`,
  },
  { at: testing, what: 'setImmediate for the manual clock', code: `export const nextTurn = setImmediate;` },
  { at: core, what: 'dates and arithmetic', code: `export const day = new Date(0);\nexport const most = Math.max(1, 2);` },
  { at: core, what: 'a function of 70 lines', code: functionOfLines(70) },
  {
    at: adapter,
    what: 'ioredis and timers',
    code: `import type { Redis } from 'ioredis';\nexport type Link = Redis;\nsetTimeout(() => {}, 1);`,
  },
  { at: middleware, what: 'node:http', code: `import { createServer } from 'node:http';\nexport const make = () => createServer();` },
];

describe('lint rules', () => {
  let folder: string;
  const rulesBrokenBy = new Map<Planted, string[]>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'oneflight-guards-'));
    const files = new Map([...violations, ...allowed].map((planted, index) => [fileFor(planted, index), planted]));
    await prepare(folder);
    for (const [file, planted] of files) await write(folder, file, `${planted.code}\n`);
    for (const { filename, rule } of await lint(folder)) {
      const planted = files.get(filename);
      if (planted) rulesBrokenBy.set(planted, [...(rulesBrokenBy.get(planted) ?? []), rule]);
    }
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.each(violations)('$rule is broken by code in $at that $what', (planted) => {
    expect(rulesBrokenBy.get(planted)).toContain(planted.rule);
  });

  it.each(allowed)('none is broken in $at by $what', (planted) => {
    expect(rulesBrokenBy.get(planted)).toBeUndefined();
  });
});

function fileFor({ at }: Planted, index: number): string {
  if (!at.endsWith('/')) return at;
  if (at === unit) return `${at}planted-${index}.test.ts`;
  return `${at}planted-${index}.${at === 'scripts/' ? 'mjs' : 'ts'}`;
}

async function prepare(folder: string): Promise<void> {
  for (const file of ['.oxlintrc.json', 'tsconfig.base.json']) await cp(join(root, file), join(folder, file));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  await write(
    folder,
    'tsconfig.json',
    '{ "extends": "./tsconfig.base.json", "compilerOptions": { "composite": false }, "include": ["**/*.ts"] }',
  );
  await write(folder, `${core}codec.ts`, 'export interface Codec {\n  encode(): string;\n}\n');
}

async function lint(folder: string): Promise<{ filename: string; rule: string }[]> {
  const oxlint = join(root, 'node_modules/.bin/oxlint');
  const { stdout } = await execute(oxlint, ['--type-aware', '--format=json'], { cwd: folder }).catch((error: { stdout: string }) => error);
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
  return diagnostics.map(({ code, filename }) => ({ filename, rule: code.replace(/^.*\((.*)\)$/, '$1') }));
}

async function write(folder: string, file: string, content: string): Promise<void> {
  await mkdir(dirname(join(folder, file)), { recursive: true });
  await writeFile(join(folder, file), content);
}

function functionOfLines(lines: number): string {
  const body = Array.from({ length: lines - 2 }, (_, index) => `  list.push(${index});`);
  return ['export function fill(list: number[]): void {', ...body, '}'].join('\n');
}

function switchWithoutCase(): string {
  return `export function count(of: 'one' | 'two'): number {\n  switch (of) {\n    case 'one':\n      return 1;\n  }\n  return 2;\n}`;
}
