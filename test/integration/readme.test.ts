import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectLine } from '../support/line-client.js';
import { readPage, samplesOf } from '../support/markdown.js';
import { root } from '../support/root.js';

const execute = promisify(execFile);
const pages = [
  'README.md',
  'docs/errors.md',
  'packages/core/README.md',
  'packages/redis-adapter/README.md',
  'packages/express-middleware/README.md',
  'docs/watch-warm-many.md',
];
/** Of the other pages each has one. */
const programs: Readonly<Record<string, number>> = { 'docs/watch-warm-many.md': 3 };

let server: TestServer;
let folder: string;

beforeAll(async () => {
  if (!existsSync(join(root, 'packages/redis-adapter/dist/index.js'))) throw new Error('nothing is built: run `npx tsc -b` first');
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), 'oneflight-readme-'));
  // As if a user had installed what the pages say; the ticket shop has all of it.
  await symlink(join(root, 'examples/ticket-shop/node_modules'), join(folder, 'node_modules'));
});

afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('a program in the documentation', () => {
  it.each(pages)('%s: runs as it is, prints what the page says, and ends by itself', async (path) => {
    const samples = samplesOf((await readPage(path)).text);
    expect(samples).toHaveLength(programs[path] ?? 1);
    for (const { code, output } of samples) expect(await runProgram(code)).toEqual({ stdout: output, stderr: '' });
  });

  it('packages/redis-adapter/README.md: runs as a Redis user with the rights that the page lists, and is refused nothing', async () => {
    const { text } = await readPage('packages/redis-adapter/README.md');
    const rights = /ACL SETUSER flight ([^`]+)/.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
    const [sample] = samplesOf(text);
    const admin = await connectLine(server.port);
    try {
      expect(await admin.ask(`ACL SETUSER flight ${rights.join(' ')}`)).toBe('+OK');
      const url = server.url.replace('redis://', 'redis://flight:password@');
      expect(await runProgram(sample?.code ?? '', url)).toEqual({ stdout: sample?.output, stderr: '' });
      expect(await admin.ask('ACL LOG')).toBe('*0');
    } finally {
      admin.close();
    }
  });

  it('is short where it is the first that a user sees', async () => {
    const [first] = samplesOf((await readPage('README.md')).text);
    expect(first?.code.split('\n').filter((line) => line !== '').length).toBeLessThanOrEqual(12);
  });
});

/** Rejects when the program fails, or does not end. */
async function runProgram(code: string, url = server.url): Promise<{ stdout: string; stderr: string }> {
  const file = join(folder, 'program.mjs');
  await writeFile(file, code);
  const { stdout, stderr } = await execute(process.execPath, [file], {
    cwd: folder,
    env: { ...process.env, REDIS_URL: url },
    timeout: 30_000,
  });
  return { stdout, stderr };
}
