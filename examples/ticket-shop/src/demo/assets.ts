import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
}

/** The files of the live page, by path. Nothing else of the disk can be asked for. */
export function readAssets(): ReadonlyMap<string, Asset> {
  const files: Readonly<Record<string, string>> = {
    '/': import.meta.resolve('../../public/index.html'),
    '/style.css': import.meta.resolve('../../public/style.css'),
    ...Object.fromEntries(MODULES.map((name) => [`/${name}.js`, import.meta.resolve(`../page/${name}.js`)])),
    '/vendor/uplot.js': import.meta.resolve('uplot/dist/uPlot.iife.min.js'),
    '/vendor/uplot.css': import.meta.resolve('uplot/dist/uPlot.min.css'),
    '/vendor/inter.woff2': import.meta.resolve('@fontsource-variable/inter/files/inter-latin-wght-normal.woff2'),
  };
  return new Map(Object.entries(files).map(([path, file]) => [path, { type: typeOf(file), body: readFileSync(fileURLToPath(file)) }]));
}

const MODULES = ['main', 'charts', 'dom', 'render', 'words'];

function typeOf(file: string): string {
  const type = TYPES[extname(file)];
  if (type === undefined) throw new Error(`expected a file of a known type, got ${file}`);
  return type;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.woff2': 'font/woff2',
};
