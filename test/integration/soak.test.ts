import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../support/root.js';

it('flights of all kinds leave nothing behind, in the process and in Redis', async () => {
  const child = spawn(process.execPath, [join(root, 'bench', 'dist', 'soak.js'), '--quick']);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += String(chunk)));
  const [code] = await once(child, 'exit');
  console.log(said);
  expect({ code, said }).toEqual({ code: 0, said: expect.stringMatching(/^(?=.*without a coordinator)(?=.*over Redis)(?!.*MISSED)/s) });
}, 240_000);
