import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './project.mjs';
import { run } from './run.mjs';

const folder = join(root, '.cache', 'test-results');
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');

/** Runs vitest once and resolves with `{ passed, failed, skipped }`, read from its own report beside the usual output. */
export async function runVitest(name, args, { log, node = process.execPath, env }) {
  mkdirSync(folder, { recursive: true });
  const report = join(folder, `${name}.json`);
  rmSync(report, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const code = await run(node, [vitest, 'run', '--passWithNoTests', ...reporters, ...args], { log, env });
  return count(readReport(report), code);
}

function readReport(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function count(report, code) {
  const passed = report?.numPassedTests ?? 0;
  const skipped = (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
  // A file that cannot be loaded, or an unhandled rejection, fails the run without failing a test.
  const failed = Math.max(report?.numFailedTests ?? 0, code === 0 ? 0 : 1);
  return { passed, failed, skipped };
}
