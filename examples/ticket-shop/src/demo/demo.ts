import type { DemoOptions } from './arguments.js';
import { type Child, startChild } from './child.js';
import { openDatabase } from './database.js';
import { type Answers, createAnswers } from './answers.js';
import { startControlServer } from './control-server.js';
import { createLive, type Scene } from './live.js';
import { type BurstSetting, measure, type Stage, warmUp } from './measure.js';
import { startProxy } from './proxy.js';
import { startReplicas } from './replicas.js';
import { type Comparison, toTable } from './report.js';
import type { Teardown } from './teardown.js';

export interface DemoContext {
  readonly options: DemoOptions;
  readonly teardown: Teardown;
  readonly say: (text: string) => void;
}

/** What both bursts have shown. */
export interface Shown {
  readonly comparison: Comparison;
  /** Serves the live page until the teardown. */
  serve(): Promise<{ readonly pageUrl: string; readonly shopUrl: string }>;
}

/** Starts everything, fires both bursts, and leaves the shop running until the teardown. */
export async function runDemo(context: DemoContext): Promise<Shown> {
  const { options, say } = context;
  const { stage, answers } = await setUp(context);
  const deliveryMs = await warmUp(stage);
  const busyMs = options.busyMs ?? Math.min(2_000, Math.max(150, Math.ceil((1.25 * deliveryMs) / 50) * 50));
  say(`all connections are open; this machine delivers ${options.requests} requests within ${Math.round(deliveryMs)} ms,`);
  say(`each seat query is made to take ${busyMs} ms more (pg_sleep, for a busy database) so that they are simultaneous`);
  say('');
  const without = await burst(context, stage, { collapse: 'off', busyMs, verify: true });
  const collapsed = await burst(context, stage, { collapse: 'cluster', busyMs, verify: true });
  const comparison = { load: stage.load, without, with: collapsed };
  say(`\n${toTable(comparison)}\n`);
  if (collapsed.databaseQueries > options.keys)
    say(`  More queries than keys: the burst took longer to arrive than the query to run. Raise --busy-ms.\n`);
  return { comparison, serve: () => serve(context, { stage, busyMs, answers, comparison }) };
}

async function serve({ options, teardown }: DemoContext, scene: Scene) {
  const live = await createLive(scene);
  teardown.defer('the live page', () => live.end());
  const server = await startControlServer({ live, host: options.host, port: options.port });
  teardown.defer('the control server', () => server.close());
  return { pageUrl: server.url, shopUrl: `http://127.0.0.1:${scene.stage.proxyPort}/` };
}

async function burst({ say }: DemoContext, stage: Stage, setting: BurstSetting) {
  const how = setting.collapse === 'off' ? 'without collapsing' : 'with collapsing, nothing loaded before';
  say(`${stage.load.requests} requests at once for ${stage.load.keys} ${stage.load.keys === 1 ? 'block' : 'blocks'} of seats, ${how}`);
  const measurement = await measure(stage, setting);
  if (measurement.reasons !== '') say(`  failed: ${measurement.reasons}`);
  return measurement;
}

async function setUp({ options, teardown, say }: DemoContext): Promise<{ stage: Stage; answers: Answers }> {
  const keeper = startKeeper(options, teardown, say);
  const { databaseUrl, redisUrl } = await keeper.next('ready');
  const database = await openDatabase(String(databaseUrl));
  teardown.defer('the database connection', () => database.close());
  say(`starting ${options.replicas} replicas, each with a pool of ${POOL_SIZE} database connections`);
  const env = { DATABASE_URL: String(databaseUrl), REDIS_URL: String(redisUrl), POOL_SIZE: String(POOL_SIZE) };
  const replicas = await startReplicas({ count: options.replicas, env, teardown });
  const answers = createAnswers();
  const proxy = await startProxy({ ports: () => replicas.ports(), onAnswer: (answer) => answers.record(answer) });
  teardown.defer('the proxy', () => proxy.close());
  const generator = startChild('the load generator', new URL('./load-generator.js', import.meta.url), {}, teardown);
  const load = { requests: options.requests, keys: options.keys, replicas: options.replicas };
  return { stage: { generator, replicas, database, proxyPort: proxy.port, load }, answers };
}

const POOL_SIZE = 10;

function startKeeper(options: DemoOptions, teardown: Teardown, say: (text: string) => void): Child {
  const env = { CONNECTIONS_MAX: String((options.replicas + 2) * POOL_SIZE + 10) };
  const keeper = startChild('the keeper of the servers', new URL('./keeper/main.js', import.meta.url), env, teardown);
  keeper.onMessage((message) => message.kind === 'progress' && say(String(message['text'])));
  return keeper;
}
