// Writes src/scripts/generated.ts from the .lua files beside it, and refuses a script whose header does not say exactly
// which KEYS and ARGV its body reads. Run it after each change of a script: node scripts/generate-lua.mjs
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const scriptsFolder = join(dirname(fileURLToPath(import.meta.url)), '../src/scripts');
export const generatedFile = join(scriptsFolder, 'generated.ts');

/** The whole content of generated.ts for the scripts in a folder. */
export function generate(folder = scriptsFolder) {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.lua'))
    .sort();
  const scripts = names.map((name) => parseScript(name, readFileSync(join(folder, name), 'utf8')));
  return [
    '// Made by scripts/generate-lua.mjs from the .lua files beside it. Do not edit.',
    '',
    ...scripts.map((script) => renderScript(script)),
  ].join('\n');
}

/** Checks one script's header against its body. Throws an Error that names the file and what is wrong. */
export function parseScript(file, source) {
  const lines = source.split('\n');
  const headerEnd = lines.findIndex((line) => !line.startsWith('--'));
  const header = lines.slice(0, headerEnd);
  const body = lines
    .slice(headerEnd)
    .map((line) => line.replace(/^\s*--.*$/, '').trimEnd())
    .filter((line) => line !== '')
    .join('\n');
  if (!header.some((line) => line.trim() === '-- Returns')) throw new Error(`${file}: the header has no "Returns"`);
  const keys = parameters(file, 'KEYS', header, body);
  const args = parameters(file, 'ARGV', header, body);
  return { name: file.replace(/\.lua$/, ''), keys, args, lua: body, sha1: createHash('sha1').update(body).digest('hex') };
}

/** The names of one table's entries, in order, after checking that header and body agree on each. */
function parameters(file, table, header, body) {
  const declared = header.map((line) => new RegExp(`^-- ${table}\\[(\\d+)\\] (\\w+)`).exec(line)).filter((match) => match !== null);
  declared.forEach((match, at) => {
    if (Number(match[1]) !== at + 1)
      throw new Error(`${file}: the header names ${table}[${match[1]}] where ${table}[${at + 1}] comes next`);
  });
  const bound = [...body.matchAll(new RegExp(`^local (\\w+) = (?:tonumber\\()?${table}\\[(\\d+)\\]\\)?$`, 'gm'))];
  const reads = [...body.matchAll(new RegExp(`\\b${table}\\b`, 'g'))];
  if (reads.length !== bound.length) throw new Error(`${file}: ${table} is read other than by one "local name = ${table}[n]" per entry`);
  for (const [, name, index] of bound) {
    const said = declared[Number(index) - 1]?.[2];
    if (said !== name) throw new Error(`${file}: the body reads ${table}[${index}] as ${name}, the header says ${said ?? 'nothing'}`);
  }
  const unread = declared.find((match) => !bound.some(([, , index]) => index === match[1]));
  if (unread !== undefined) throw new Error(`${file}: the header names ${table}[${unread[1]}] ${unread[2]}, the body does not read it`);
  return declared.map((match) => match[2].replace(/_(\w)/g, (_, letter) => letter.toUpperCase()));
}

function renderScript({ name, keys, args, lua, sha1 }) {
  const list = (items) => `[${items.map((item) => `'${item}'`).join(', ')}]`;
  const text = lua.replace(/[\\`]|\$\{/g, (match) => `\\${match}`);
  return `export const ${name} = {
  name: '${name}',
  keys: ${list(keys)},
  args: ${list(args)},
  sha1: '${sha1}',
  lua: \`${text}\`,
} as const;
`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) writeFileSync(generatedFile, generate());
