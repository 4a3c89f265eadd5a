import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { LIMIT_DEFAULTS, RUN_DEFAULTS } from '../../packages/core/src/options.js';
import { DEFAULTS } from '../../packages/redis-adapter/src/options.js';
import { anchorsOf, linksOf, readPages, sectionsOf, tableRows, type Page } from '../support/markdown.js';
import { root } from '../support/root.js';

/** What the documentation says about the code is compared with the code. */
let pages: Page[];

beforeAll(async () => {
  pages = await readPages();
});

describe('docs/guarantees.md', () => {
  const parts = ['**Promised.**', '**When.**', '**Not promised.**', '**Held by**'];
  /** The last section promises nothing; it says what cannot be had. */
  const exceptions = ['Not to be had on asynchronously replicated Redis'];

  it('says of each promise what it is, when it holds, what is not promised, and which tests hold it', () => {
    const promises = sectionsOf(textOf('docs/guarantees.md'), 2).filter(({ title }) => !exceptions.includes(title));
    expect(promises.length).toBeGreaterThan(8);
    for (const { title, body } of promises) {
      for (const part of parts) expect(body, title).toContain(part);
      expect(testsNamedIn(body).length, title).toBeGreaterThan(0);
    }
  });

  it('names tests that exist, by file and title', async () => {
    const named = testsNamedIn(textOf('docs/guarantees.md'));
    expect(named.length).toBeGreaterThan(50);
    expect(await missing(named)).toEqual([]);
  });
});

describe('docs/protocol.md', () => {
  it('names tests that exist in its checklist', async () => {
    const [checklist] = sectionsOf(textOf('docs/protocol.md'), 2).filter(({ title }) => title === 'What goes wrong otherwise');
    const body = checklist?.body ?? '';
    const files = [...new Set(linksOf(body))].filter((link) => link.endsWith('.ts'));
    const titles = tableRows(body).flatMap(([, , test = '']) => (test === '' ? [] : [test]));
    expect(titles.length).toBeGreaterThan(15);
    const known = new Set((await Promise.all(files.map((file) => titlesIn(`docs/${file}`)))).flatMap((found) => [...found]));
    expect(titles.filter((title) => !known.has(title))).toEqual([]);
  });
});

describe('docs/errors.md', () => {
  it('has a section for each code and warning of the sources, and for no other', async () => {
    const sections = sectionsOf(textOf('docs/errors.md'), 3).map(({ title }) => title);
    expect(sections.toSorted()).toEqual((await codesInSources()).filter((code) => !isOfHttp(code)));
  });

  it('leaves the codes of the middleware to docs/http.md, which has a section for each that a user can see', async () => {
    const sections = sectionsOf(textOf('docs/http.md'), 3).map(({ title }) => title);
    const ofHttp = (await codesInSources()).filter((code) => isOfHttp(code) && !INSIDE_THE_MIDDLEWARE.includes(code));
    expect(sections.filter(isOfHttp).toSorted()).toEqual(ofHttp);
  });

  it('says of each code its symptom, its cause, and what to do', () => {
    for (const { title, body } of sectionsOf(textOf('docs/errors.md'), 3)) {
      expect(body, title).toContain('**Symptom.**');
      expect(body, title).toMatch(/\*\*Cause\.\*\*|\| cause/);
      expect(body, title).toMatch(/\*\*What to do\.\*\*|\| what to do/);
    }
  });

  it('has a row for each reason of a CoordinatorError', async () => {
    const source = await readFile(join(root, 'packages/core/src/errors.ts'), 'utf8');
    const union = /type CoordinatorFailure = ([^;]+);/.exec(source)?.[1] ?? '';
    const reasons = Array.from(union.matchAll(/'(\w+)'/g), ([, reason]) => reason);
    const [section] = sectionsOf(textOf('docs/errors.md'), 3).filter(({ title }) => title === 'ERR_ONEFLIGHT_COORDINATOR');
    expect(tableRows(section?.body ?? '').map(([reason]) => reason)).toEqual(reasons.map((reason) => `\`${reason}\``));
  });
});

describe('the tables of options in README.md', () => {
  it('of run have the names and defaults of the code', () => {
    expect(optionsIn('Options of `run`')).toEqual(asWritten({ ...RUN_DEFAULTS }, { codec: "the coordinator's" }));
  });

  it('of redisCoordinator have the names and defaults of the code', () => {
    const { compressBytesMin: _, secretKeys: __, breaker: ___, near: ____, ...plain } = DEFAULTS;
    const others = { redis: 'required', compress: '`false`', secret: 'none', breaker: 'on', near: '`false`' };
    expect(optionsIn('Options of `redisCoordinator`')).toEqual({ ...others, ...asWritten(plain) });
  });

  it('of createCollapser have the names and defaults of its limits', () => {
    const limits = Object.entries(optionsIn('Options of `createCollapser`')).filter(([name]) => name.startsWith('limits.'));
    const code = Object.entries(LIMIT_DEFAULTS).map(([name, value]) => [`limits.${name}`, value]);
    expect(Object.fromEntries(limits)).toEqual(asWritten(Object.fromEntries(code)));
  });
});

describe('the table of methods in packages/core/README.md', () => {
  it('has every method of a collapser, and no other', async () => {
    const source = await readFile(join(root, 'packages/core/src/collapser.ts'), 'utf8');
    const methods = (/export interface Collapser [^{]*\{([\s\S]*?)^\}/m.exec(source)?.[1] ?? '').matchAll(/^ {2}(\w+)[<(]/gm);
    const documented = tableRows(textOf('packages/core/README.md')).map(([name = '']) => /^`(\w+)\(/.exec(name)?.[1]);
    expect(documented.toSorted()).toEqual(Array.from(methods, ([, name]) => name).toSorted());
  });
});

describe('links', () => {
  it('between pages lead to files and headings that exist', () => {
    const broken = pages.flatMap((page) =>
      linksOf(page.text).flatMap((link) => (leadsSomewhere(page, link) ? [] : [`${page.path}: ${link}`])),
    );
    expect(broken).toEqual([]);
  });
});

function textOf(path: string): string {
  const page = pages.find((candidate) => candidate.path === path);
  if (page === undefined) throw new Error(`expected the page ${path}, got none`);
  return page.text;
}

interface NamedTest {
  readonly file: string;
  readonly title: string;
}

/** Lines such as `- [file.test.ts](../path/file.test.ts): the title`. */
function testsNamedIn(text: string): NamedTest[] {
  const lines = text.matchAll(/^- \[[\w.-]+\]\(([^)]+\.ts)\): (.+)$/gm);
  return Array.from(lines, ([, file = '', title = '']) => ({ file: normalize(`docs/${file}`), title }));
}

async function missing(named: readonly NamedTest[]): Promise<NamedTest[]> {
  const files = [...new Set(named.map(({ file }) => file))];
  const titles = new Map(await Promise.all(files.map(async (file) => [file, await titlesIn(file)] as const)));
  return named.filter(({ file, title }) => titles.get(file)?.has(title) !== true);
}

/** Titles of `it`, `test` and `it.each`, and the clauses of the coordinator contract, which are the names of properties. */
async function titlesIn(path: string): Promise<Set<string>> {
  const source = (await readFile(join(root, path), 'utf8')).replace(/^\s*\/\/.*$/gm, '');
  const calls = source.matchAll(/\(\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"),\s*(?:async\b|\()/g);
  const clauses = source.matchAll(/^ {2}(?:'([^'\n]+)'|"([^"\n]+)"): \{$/gm);
  return new Set(Array.from([...calls, ...clauses], ([, single, double]) => (single ?? double ?? '').replace(/\\(.)/g, '$1')));
}

/** Errors with which the middleware tells its own loaders apart; no caller ever sees one. */
const INSIDE_THE_MIDDLEWARE = ['ERR_ONEFLIGHT_HTTP_CUT', 'ERR_ONEFLIGHT_HTTP_STEP_ASIDE'];

function isOfHttp(code: string): boolean {
  return code.includes('ONEFLIGHT_HTTP_');
}

async function codesInSources(): Promise<string[]> {
  const codes = new Set<string>();
  for (const name of await readdir(join(root, 'packages'))) {
    for (const file of await readdir(join(root, 'packages', name, 'src'), { recursive: true })) {
      if (!file.endsWith('.ts')) continue;
      const source = await readFile(join(root, 'packages', name, 'src', file), 'utf8');
      for (const [, code = ''] of source.matchAll(/'((?:ERR_)?ONEFLIGHT_[A-Z_]+)'/g)) codes.add(code);
    }
  }
  return [...codes].toSorted();
}

/** Names and defaults of the table under a heading of the README. */
function optionsIn(heading: string): Record<string, string> {
  const section = sectionsOf(textOf('README.md'), 2).find(({ title }) => title === heading);
  return Object.fromEntries(tableRows(section?.body ?? '').map(([name = '', standard = '']) => [name.replaceAll('`', ''), standard]));
}

/** Defaults as the README writes them: code, with `_` between thousands; what has none is `none`, or said in words. */
function asWritten(defaults: Readonly<Record<string, unknown>>, words: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, words[name] ?? written(value)]));
}

function written(value: unknown): string {
  if (value === undefined) return 'none';
  if (typeof value === 'number') return `\`${value.toLocaleString('en-US').replaceAll(',', '_')}\``;
  return typeof value === 'string' ? `\`'${value}'\`` : `\`${String(value)}\``;
}

function leadsSomewhere(page: Page, link: string): boolean {
  if (/^https?:/.test(link)) return true;
  const [file = '', anchor] = link.split('#');
  const target = file === '' ? page.path : normalize(join(dirname(page.path), file));
  if (!existsSync(join(root, target))) return false;
  if (anchor === undefined) return true;
  return anchorsOf(pages.find(({ path }) => path === target)?.text ?? '').has(anchor);
}
