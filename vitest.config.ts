import { defineConfig } from 'vitest/config';

// Tests of one package see the sources of the others, so no build stands between an edit and a red test.
// Never 'import' here: Node would apply it to require() too, and CommonJS packages would get modules.
const conditions = ['@oneflight/source', 'node'];

/** One project per kind of test (see CONTRIBUTING.md), so that each can be run and timed alone. */
function project(name: string, testTimeout: number, serial = false) {
  return {
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: conditions } },
    test: {
      name,
      include: [`{packages,examples}/*/test/${name}/**/*.test.ts`, `test/${name}/**/*.test.ts`],
      testTimeout,
      hookTimeout: 120_000,
      pool: 'forks' as const,
      execArgv: ['--unhandled-rejections=strict'],
      fileParallelism: !serial,
    },
  };
}

export default defineConfig({
  test: {
    projects: [
      project('unit', 30_000),
      project('contract', 20_000),
      project('simulation', 120_000),
      project('integration', 60_000, true),
      project('browser', 60_000, true),
      project('fault', 120_000, true),
      project('package', 120_000, true),
    ],
  },
});
