import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './project.mjs';
import { capture, run } from './run.mjs';

/** The other Node versions that the libraries promise to work on. */
export const otherNodes = Object.freeze({ node22: '22.23.3', node24: '24.21.0', node26: '26.10.0' });

/**
 * Puts one Node version into the project's cache folder and resolves with the path of its binary. It comes from the npm
 * registry (the packages behind the npm package `node`), so that no second kind of download is needed.
 */
export async function installNode(version, log) {
  const folder = join(root, '.cache', 'node', version);
  const name = platformPackage();
  const binary = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    log.info(`npm install ${name}@${version} (into .cache/node)`);
    const args = [
      'install',
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      '--ignore-scripts',
      '--loglevel=error',
      `${name}@${version}`,
    ];
    const code = await run('npm', args, { cwd: folder, log });
    if (code !== 0) throw new Error(`Node ${version} could not be installed from the npm registry (exit code ${code})`);
  }
  const answer = await capture(binary, ['--version']);
  if (answer.stdout.trim() !== `v${version}`)
    throw new Error(`expected Node ${version} in .cache/node, got ${answer.stdout.trim() || answer.stderr.trim()}`);
  return binary;
}

function platformPackage() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  // Builds for Apple's own processors came later, under another prefix.
  const prefix = platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform}-${process.arch}`;
}
