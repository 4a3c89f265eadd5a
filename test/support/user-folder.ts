import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './root.js';

/** A folder outside of the repository in which these packages are installed, as a user would have them. */
export interface UserFolder extends AsyncDisposable {
  readonly path: string;
}

export async function userFolder(packages: readonly string[]): Promise<UserFolder> {
  const path = await mkdtemp(join(tmpdir(), 'oneflight-user-'));
  for (const name of packages) {
    const link = join(path, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    await symlink(await installed(name), link);
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Where the workspace has a package: one of our own, or what one of them depends on. */
async function installed(name: string): Promise<string> {
  if (name.startsWith('@oneflight/')) return join(root, 'packages', name.slice('@oneflight/'.length));
  const members = await Promise.all(['packages', 'examples'].map(membersOf));
  const found = [root, ...members.flat()].map((member) => join(member, 'node_modules', name)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`expected ${name} to be installed in the workspace; it is not`);
  return found;
}

async function membersOf(folder: string): Promise<string[]> {
  return (await readdir(join(root, folder))).map((name) => join(root, folder, name));
}
