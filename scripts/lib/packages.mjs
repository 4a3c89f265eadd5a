import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { manifest, root } from './project.mjs';
import { run } from './run.mjs';

const stampFile = join(root, 'node_modules', '.oneflight-install');

/** Installs the packages that pnpm-lock.yaml names into the project, unless that was done already. Nothing global. */
export async function installPackages(log) {
  const wanted = fingerprint();
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) {
    log.info('packages are up to date');
    return;
  }
  const pnpm = manifest.packageManager.replace(/\+.*/, '');
  log.info(`npx --yes ${pnpm} install --frozen-lockfile`);
  const code = await run('npx', ['--yes', pnpm, 'install', '--frozen-lockfile'], { log, env: { CI: 'true' } });
  if (code !== 0) throw new Error(`the packages could not be installed (exit code ${code}); the npm registry must be reachable`);
  writeFileSync(stampFile, wanted);
}

function fingerprint() {
  const hash = createHash('sha256');
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json', ...workspaceManifests()]) {
    hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  }
  return hash.digest('hex');
}

function workspaceManifests() {
  const folders = ['packages', 'examples'].flatMap((parent) => children(parent).map((name) => `${parent}/${name}`));
  return [...folders, 'bench', 'testkit'].map((folder) => `${folder}/package.json`).filter((file) => existsSync(join(root, file)));
}

function children(parent) {
  return existsSync(join(root, parent)) ? readdirSync(join(root, parent)).toSorted() : [];
}
