import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from './root.js';

/** A page of the documentation; `path` is relative to the repository. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

/** Every page that a user may read: the READMEs and docs/. */
export async function readPages(): Promise<Page[]> {
  const found = await Promise.all(['docs', 'packages', 'examples'].map((folder) => pagesBelow(folder)));
  return Promise.all(['README.md', ...found.flat()].map((path) => readPage(path)));
}

export async function readPage(path: string): Promise<Page> {
  return { path, text: await readFile(join(root, path), 'utf8') };
}

async function pagesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const below = entries.filter((entry) => entry.isDirectory() && !['node_modules', 'dist'].includes(entry.name));
  const pages = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.md')).map(({ name }) => `${folder}/${name}`);
  return [...pages, ...(await Promise.all(below.map(({ name }) => pagesBelow(`${folder}/${name}`)))).flat()];
}

/** A part of a page from one heading to the next of the same or a higher level. */
export interface Section {
  readonly title: string;
  readonly body: string;
}

/** The sections of one level, with what is below them. */
export function sectionsOf(text: string, level: number): Section[] {
  const heading = new RegExp(`^#{${level}} (.+)$`);
  const sections: { title: string; lines: string[] }[] = [];
  let current: { title: string; lines: string[] } | undefined;
  for (const line of text.split('\n')) {
    const title = heading.exec(line)?.[1];
    if (title !== undefined) sections.push((current = { title, lines: [] }));
    else if (new RegExp(`^#{1,${level - 1}} `).test(line)) current = undefined;
    else current?.lines.push(line);
  }
  return sections.map(({ title, lines }) => ({ title, body: lines.join('\n') }));
}

/** The cells of the tables in a text, without their heads. A `\|` in a cell is a `|`. */
export function tableRows(text: string): string[][] {
  const rows: string[][] = [];
  let isBody = false;
  for (const line of text.split('\n')) {
    if (!line.startsWith('|')) isBody = false;
    else if (/^\|[\s:|-]+\|$/.test(line)) isBody = true;
    else if (isBody)
      rows.push(
        line
          .slice(1, -1)
          .split(/(?<!\\)\|/)
          .map((cell) => cell.trim().replaceAll('\\|', '|')),
      );
  }
  return rows;
}

/** Where the links of a page lead, outside of code blocks. */
export function linksOf(text: string): string[] {
  return Array.from(text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g), ([, target = '']) => target);
}

/** The anchors that a page's headings get. */
export function anchorsOf(text: string): Set<string> {
  const headings = text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm);
  return new Set(
    Array.from(headings, ([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** A block of code of a page, between two lines of three backticks. */
export interface Block {
  readonly language: string;
  readonly code: string;
  /** The number of its first line in the page. */
  readonly line: number;
}

/** The blocks of code of a page, in order. One without a language has the language ''. */
export function blocksOf(text: string): Block[] {
  return Array.from(text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm), ({ 1: language = '', 2: code = '', index }) => {
    return { language, code, line: text.slice(0, index).split('\n').length + 1 };
  });
}

/** A program of a page, and what the page says it prints. */
export interface Sample {
  readonly code: string;
  readonly output: string;
}

/** The programs of a page that are followed by their output. */
export function samplesOf(text: string): Sample[] {
  const blocks = text.matchAll(/^```js\n([\s\S]*?)^```\n(?:(?!```|#)[^\n]*\n)*?```text\n([\s\S]*?)^```/gm);
  return Array.from(blocks, ([, code = '', output = '']) => ({ code, output }));
}
