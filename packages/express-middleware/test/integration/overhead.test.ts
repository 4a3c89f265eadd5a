import { performance } from 'node:perf_hooks';

import { createCollapser } from '@oneflight/core';
import express, { type Express } from 'express';
import { Agent, request } from 'node:http';
import { expect, it } from 'vitest';

import { collapse, type CollapseOptions } from '../../src/index.js';
import { serveApp } from '../support/shop.js';

const ROUNDS = 9;
const REQUESTS = 400;

/** Time for some requests, one behind the other on one connection, in microseconds for each. */
async function timeOf(port: number, agent: Agent, path: string): Promise<number> {
  const startedAt = performance.now();
  for (let n = 0; n < REQUESTS; n += 1) {
    await new Promise<void>((resolve, reject) => {
      request({ host: '127.0.0.1', port, agent, path, headers: { cookie: 'session=1', accept: '*/*' } }, (response) => {
        response.resume().on('end', resolve);
      })
        .on('error', reject)
        .end();
    });
  }
  return ((performance.now() - startedAt) * 1000) / REQUESTS;
}

function appOf(options: CollapseOptions | undefined, control: string): Express {
  const app = express();
  if (options !== undefined) app.use(collapse(createCollapser(), options));
  return app.get('/', (_request, response) => void response.set('Cache-Control', control).json({ seats: [1, 2, 3] }));
}

it('costs a route that never collapses little, against plain Express in the same run', async () => {
  const apps: Readonly<Record<string, Express>> = {
    plain: appOf(undefined, 'private'),
    'not to be collapsed (skip)': appOf({ skip: () => true }, 'private'),
    'never shared (hit-for-miss)': appOf({}, 'private'),
    'alone each time (leader, 0 followers)': appOf({}, 'public'),
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = await Promise.all(Object.values(apps).map(serveApp));
  const times = ports.map((): number[] => []);
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [index, port] of ports.entries()) {
      const time = await timeOf(port, agent, '/');
      if (round > 0) times[index]?.push(time); // the first round warms up
    }
  }
  agent.destroy();
  const medians = times.map((list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0);
  const plain = medians[0] ?? 1;
  const lines = Object.keys(apps).map(
    (name, index) => `${name.padEnd(40)} ${medians[index]?.toFixed(0)} us  x${((medians[index] ?? 0) / plain).toFixed(2)}`,
  );
  console.log(lines.join('\n'));
  expect((medians[1] ?? 0) / plain).toBeLessThan(3); // far above what is measured: this catches a blunder, not a regression
  expect((medians[2] ?? 0) / plain).toBeLessThan(3);
});
