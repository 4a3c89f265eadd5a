// Builds the core and its simulator, as they are or with a part of the core changed, into a folder of its own.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const core = join(here, '..', '..');
const root = join(core, '..', '..');
const cache = join(root, '.cache', 'simulation');

/** Returns the address of the built simulator. `patches` change files of `src`; each text must be there exactly once. */
export function buildVariant(name, patches = []) {
  const folder = join(cache, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'test'), { recursive: true });
  cpSync(join(core, 'src'), join(folder, 'src'), { recursive: true });
  cpSync(here, join(folder, 'test', 'simulation'), { recursive: true });
  for (const patch of patches) applyPatch(folder, patch);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  const options = {
    rootDir: '.',
    outDir: 'dist',
    noCheck: true,
    composite: false,
    declaration: false,
    declarationMap: false,
    sourceMap: true,
  };
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.base.json'),
      compilerOptions: options,
      files: ['test/simulation/simulation.ts', 'test/simulation/stored.ts'],
    }),
  );
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the variant '${name}' does not compile:\n${stdout}`);
  return pathToFileURL(join(folder, 'dist', 'test', 'simulation', 'simulation.js')).href;
}

function applyPatch(folder, { file, find, replace }) {
  const path = join(folder, 'src', file);
  const text = readFileSync(path, 'utf8');
  const places = [...text.matchAll(anyLayout(find))];
  if (places.length !== 1) throw new Error(`expected the text of a patch once in src/${file}, found it ${places.length} times:\n${find}`);
  const changed = text.replace(anyLayout(find), () => replace);
  writeFileSync(path, changed);
}

/** Fits the text however the formatter has broken its lines. */
function anyLayout(text) {
  const words = text.trim().split(/\s+/);
  return new RegExp(words.map((word) => word.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)).join(String.raw`\s+`), 'g');
}
