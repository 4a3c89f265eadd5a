import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from './root.js';

const execute = promisify(execFile);

/** A public package as its users get it. */
export interface Packed {
  readonly name: string;
  readonly tarball: string;
  /** Where its files were unpacked. */
  readonly folder: string;
  readonly manifest: Manifest;
}

export interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** Packs every package of packages/ into `folder`. The build must be there. */
export async function packAll(folder: string): Promise<Packed[]> {
  const names = (await readdir(join(root, 'packages'))).toSorted();
  const { packageManager } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { packageManager: string };
  const packed: Packed[] = [];
  for (const name of names) packed.push(await pack(join(root, 'packages', name), join(folder, name), packageManager));
  return packed;
}

// pnpm, because npm leaves `workspace:` as it is.
async function pack(source: string, folder: string, packageManager: string): Promise<Packed> {
  await mkdir(folder, { recursive: true });
  await execute('npx', ['--yes', packageManager, 'pack', '--pack-destination', folder], { cwd: source });
  const [file] = await readdir(folder);
  if (file === undefined) throw new Error(`pnpm pack made no tarball of ${source}`);
  const tarball = join(folder, file);
  await execute('tar', ['-xzf', tarball, '-C', folder]);
  const manifest = JSON.parse(await readFile(join(folder, 'package', 'package.json'), 'utf8')) as Manifest;
  return { name: manifest.name, tarball, folder: join(folder, 'package'), manifest };
}

/** Installs tarballs together into an empty project, as a user would; peers come along. */
export async function installTarballs(folder: string, tarballs: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  await execute('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', ...tarballs], { cwd: folder });
}

/** Runs code as a module in a Node process of its own, in `folder`; resolves with what it printed, read as JSON. */
export async function runModule(folder: string, code: string): Promise<unknown> {
  const { stdout } = await execute(process.execPath, ['--input-type=module', '--eval', code], { cwd: folder, timeout: 30_000 });
  return JSON.parse(stdout);
}
