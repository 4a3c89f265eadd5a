import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installTarballs, packAll, type Packed, runModule } from '../support/packed.js';
import { root } from '../support/root.js';

const execute = promisify(execFile);
const names = ['@oneflight/core', '@oneflight/express-middleware', '@oneflight/redis-adapter'];

let folder: string;
let packed: Packed[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oneflight-packed-'));
  packed = await packAll(folder);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

it('these packages are public, and no others', () => {
  expect(packed.map(({ name }) => name)).toEqual(names);
});

describe.each(names)('the tarball of %s', (name) => {
  it('has a README, a licence, and every file that its exports name', async () => {
    const { folder: unpacked, manifest } = find(name);
    const targets = Object.values(manifest.exports).flatMap((conditions) => Object.values(conditions));
    const wanted = ['README.md', 'LICENSE', ...targets.map((target) => target.replace('./', ''))];
    expect(await readdir(unpacked, { recursive: true })).toEqual(expect.arrayContaining(wanted));
  });

  it('has neither tests nor leftovers of the build', async () => {
    const files = await readdir(find(name).folder, { recursive: true });
    expect(files.filter((file) => /tsbuildinfo|\.test\.|(^|\/)(test|node_modules)(\/|$)/.test(file))).toEqual([]);
  });

  it('depends on released versions, not on the workspace', () => {
    expect(Object.values(find(name).manifest.dependencies ?? {}).filter((range) => range.includes(':'))).toEqual([]);
  });

  it('satisfies publint', async () => {
    await expectToPass('publint', 'run', find(name).tarball, '--strict');
  });

  it('gives types to every module resolution that can load it', async () => {
    await expectToPass('attw', find(name).tarball, '--profile', 'esm-only');
  });
});

describe('installed together in an empty project', () => {
  let project: string;

  beforeAll(async () => {
    project = join(folder, 'project');
    await installTarballs(project, [...packed.map(({ tarball }) => tarball), ...optionalPeers(packed)]);
  });

  it('every entry exports exactly these names', async () => {
    const entries = packed.flatMap(({ name, manifest }) => Object.keys(manifest.exports).map((path) => name + path.slice(1)));
    const code = `const names = {};
      for (const entry of ${JSON.stringify(entries)}) names[entry] = Object.keys(await import(entry)).sort();
      console.log(JSON.stringify(names));`;
    expect(await runModule(project, code)).toMatchInlineSnapshot(`
      {
        "@oneflight/core": [
          "ClosedError",
          "CoordinatorError",
          "LoadTimeoutError",
          "OneflightError",
          "PayloadError",
          "ReentrantFlightError",
          "RemoteLoadError",
          "WaitTimeoutError",
          "channelName",
          "checkOptions",
          "createCollapser",
          "describe",
          "isTraceparent",
          "milliseconds",
          "misuse",
          "objectWith",
          "oneOf",
          "systemClock",
          "wholeNumber",
        ],
        "@oneflight/core/opentelemetry": [
          "traceCollapser",
        ],
        "@oneflight/core/prometheus": [
          "collectMetrics",
        ],
        "@oneflight/core/testing": [
          "ManualClock",
          "SERVER",
          "coordinatorContract",
          "endedCalls",
          "memoryCodec",
          "memoryHub",
          "promptNetwork",
        ],
        "@oneflight/express-middleware": [
          "collapse",
        ],
        "@oneflight/express-middleware/prometheus": [
          "collectHttpMetrics",
        ],
        "@oneflight/redis-adapter": [
          "defaultCodec",
          "quorumCoordinator",
          "redisCoordinator",
        ],
      }
    `);
  });

  it('npx finds the command oneflight, which explains itself', async () => {
    const { stdout } = await execute('npx', ['--no-install', 'oneflight', 'top', '--help'], { cwd: project });
    expect(stdout).toContain('Usage: oneflight top');
    const failure = await execute('npx', ['--no-install', 'oneflight', 'top', '--url', 'redis://127.0.0.1:1', '--once'], {
      cwd: project,
    }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('ECONNREFUSED') });
  });

  it('the command says what to install where ioredis is missing', async () => {
    const alone = join(folder, 'alone', 'node_modules');
    for (const name of ['@oneflight', 'devalue']) await cp(join(project, 'node_modules', name), join(alone, name), { recursive: true });
    const main = join(alone, '@oneflight', 'redis-adapter', 'dist', 'cli', 'main.js');
    const failure = await execute(process.execPath, [main, 'top', '--once']).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 1, stderr: expect.stringContaining('npm install ioredis') });
  });

  it('there is one core for all of them', async () => {
    const { stdout } = await execute('find', [project, '-path', '*/@oneflight/core/package.json']);
    expect(stdout.trim().split('\n')).toHaveLength(1);
  });
});

describe('the main entry of @oneflight/core', () => {
  let project: string;

  beforeAll(async () => {
    project = join(folder, 'alone');
    await mkdir(join(project, 'node_modules', '@oneflight'), { recursive: true });
    await cp(find('@oneflight/core').folder, join(project, 'node_modules', '@oneflight', 'core'), { recursive: true });
  });

  it('loads with no other package there', async () => {
    expect(find('@oneflight/core').manifest.dependencies ?? {}).toEqual({});
    expect(await runModule(project, `console.log(JSON.stringify(typeof (await import('@oneflight/core')).createCollapser))`)).toBe(
      'function',
    );
  });

  it('opens no handle', async () => {
    // Files that the module loader is still closing are Node's own.
    const resources = `JSON.stringify(process.getActiveResourcesInfo().filter((name) => !/^(CloseReq|FSReq)/.test(name)))`;
    const before = await runModule(project, `console.log(${resources})`);
    expect(await runModule(project, `await import('@oneflight/core'); console.log(${resources})`)).toEqual(before);
  });

  it('loads nothing of Node that talks to a network', async () => {
    const loaded = `JSON.stringify(process.moduleLoadList.filter((name) => /^NativeModule (net|http|https|http2|tls|dns|dgram|_http.*|_tls.*)$/.test(name)))`;
    const before = await runModule(project, `console.log(${loaded})`);
    expect(await runModule(project, `await import('@oneflight/core'); console.log(${loaded})`)).toEqual(before);
  });

  it('has types that know neither Redis, nor Express, nor a test runner', async () => {
    const dist = join(find('@oneflight/core').folder, 'dist');
    const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith('.d.ts') && !file.startsWith('testing'));
    expect(files).toContain('index.d.ts');
    const texts = await Promise.all(files.map((file) => readFile(join(dist, file), 'utf8')));
    expect(
      files.filter((_, index) => /from '(ioredis|express|vitest|node:https?)|import\("(ioredis|express|vitest)/.test(texts[index] ?? '')),
    ).toEqual([]);
  });
});

function find(name: string): Packed {
  const found = packed.find((each) => each.name === name);
  if (!found) throw new Error(`expected a tarball of ${name}, got none`);
  return found;
}

/** Optional peers do not come along by themselves. */
function optionalPeers(packages: readonly Packed[]): string[] {
  return packages.flatMap(({ manifest: { peerDependencies = {}, peerDependenciesMeta = {} } }) =>
    Object.entries(peerDependencies).flatMap(([name, range]) =>
      peerDependenciesMeta[name]?.optional === true ? [`${name}@${range}`] : [],
    ),
  );
}

async function expectToPass(command: string, ...args: string[]): Promise<void> {
  const { code, output } = await execute(join(root, 'node_modules/.bin', command), args, { cwd: root }).then(
    () => ({ code: 0, output: '' }),
    (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, output: error.stdout + error.stderr }),
  );
  expect(code, output).toBe(0);
}
