import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Folder of the repository, without a slash at its end. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[/\\]$/, '');

/** The root package.json. */
export const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

/** Throws a sentence that says what to do when this Node is older than the project needs. */
export function checkNodeVersion(version = process.versions.node) {
  const wanted = manifest.engines.node.replace('>=', '');
  if (isAtLeast(version, wanted)) return;
  throw new Error(`oneflight needs Node ${wanted} or newer, this is Node ${version}. Install one from https://nodejs.org and try again.`);
}

function isAtLeast(version, wanted) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
