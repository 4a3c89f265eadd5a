import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startRedis, type TestServer } from '@oneflight/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectLine } from '../support/line-client.js';
import { readPage, readPages, samplesOf } from '../support/markdown.js';
import { root } from '../support/root.js';
import { userFolder, type UserFolder } from '../support/user-folder.js';

const execute = promisify(execFile);
/** Every page with programs, but for those that other tests run. */
const pages = (await readPages()).filter(({ path, text }) => path !== 'docs/metrics.md' && samplesOf(text).length > 0);

let server: TestServer;
let folder: UserFolder;

beforeAll(async () => {
  if (!existsSync(join(root, 'packages/redis-adapter/dist/index.js'))) throw new Error('nothing is built: run `npx tsc -b` first');
  server = await startRedis();
  const ours = ['@oneflight/core', '@oneflight/express-middleware', '@oneflight/redis-adapter'];
  folder = await userFolder([...ours, 'express', 'ioredis']);
});

afterAll(async () => {
  await server.stop();
  await folder[Symbol.asyncDispose]();
});

describe('a program in the documentation', () => {
  it('is on at least eight pages', () => {
    expect(pages.length).toBeGreaterThanOrEqual(8);
  });

  it.each(pages)('$path: runs as it is, prints what the page says, and ends by itself', async ({ text }) => {
    for (const { code, output } of samplesOf(text)) expect(await runProgram(code)).toEqual({ stdout: output, stderr: '' });
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
  const file = join(folder.path, 'program.mjs');
  await writeFile(file, code);
  const { stdout, stderr } = await execute(process.execPath, [file], {
    cwd: folder.path,
    env: { ...process.env, REDIS_URL: url },
    timeout: 30_000,
  });
  return { stdout, stderr };
}
