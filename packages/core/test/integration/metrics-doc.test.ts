import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileOf, findPrometheus, runPromtool, textOf } from '@oneflight/testkit';

const execute = promisify(execFile);
const found = findPrometheus();
const core = fileURLToPath(fileOf('packages/core'));
const page = await textOf('docs/metrics.md');
const programs = Array.from(page.matchAll(/^```js\n([\s\S]*?)^```\n(?:\n```text\n([\s\S]*?)^```)?/gm), ([, code = '', output = '']) => ({
  code,
  output,
}));

let folder: string;

beforeAll(async () => {
  if (!existsSync(join(core, 'dist/prometheus/index.js'))) throw new Error('nothing is built: run `npx tsc -b` first');
  folder = await mkdtemp(join(tmpdir(), 'oneflight-metrics-'));
  // As if a user had installed what the page says.
  await mkdir(join(folder, 'node_modules', '@oneflight'), { recursive: true });
  await symlink(core, join(folder, 'node_modules', '@oneflight', 'core'));
  const middleware = fileURLToPath(fileOf('packages/express-middleware'));
  await symlink(middleware, join(folder, 'node_modules', '@oneflight', 'express-middleware'));
  for (const name of ['prom-client', '@opentelemetry']) await symlink(join(core, 'node_modules', name), join(folder, 'node_modules', name));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a program in docs/metrics.md', () => {
  it.each(programs.map((program, index) => ({ ...program, number: index + 1 })))(
    'number $number runs as it is, prints what the page says, and ends by itself',
    async ({ code, output, number }) => {
      const file = join(folder, `program-${number}.mjs`);
      await writeFile(file, code);
      const { stdout, stderr } = await execute(process.execPath, [file], { cwd: folder, timeout: 30_000 });
      expect({ stdout, stderr }).toEqual({ stdout: output, stderr: '' });
    },
  );

  it('is there for metrics, those of the middleware, cluster, exemplars, tracing and events', () => {
    expect(programs).toHaveLength(6);
  });
});

describe.skipIf('missing' in found)(`an expression in docs/metrics.md${'missing' in found ? ` (skipped: ${found.missing})` : ''}`, () => {
  it('is understood by Prometheus', async () => {
    const expressions = Array.from(page.matchAll(/^```promql\n([\s\S]*?)^```/gm), ([, expr = '']) => expr.trim());
    expect(expressions.length).toBeGreaterThan(1);
    const rules = { groups: [{ name: 'page', rules: expressions.map((expr, index) => ({ record: `page:expression:${index}`, expr })) }] };
    const file = join(folder, 'rules.yml');
    await writeFile(file, JSON.stringify(rules));
    const result = await runPromtool('promtool' in found ? found.promtool : '', ['check', 'rules', file]);
    expect(result, result.output).toMatchObject({ code: 0 });
  });
});
