import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const simulate = fileURLToPath(new URL('simulate.mjs', import.meta.url));

it('notices each fix of the protocol that is taken out, within 2,000 seeds', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [simulate, '--mutations', '--seeds', '2000']).catch((error: unknown) => {
    throw new Error(
      `npm run simulate -- --mutations:\n${error instanceof Error ? `${String(Reflect.get(error, 'stdout'))}${error.message}` : String(error)}`,
    );
  });
  expect(stdout).toMatch(/each mutation was noticed/);
}, 300_000);
