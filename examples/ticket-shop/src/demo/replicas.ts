import { type Activity, isActivity } from '../server/activity.js';
import type { CollapseMode } from '../server/collapsing.js';
import { type Child, startChild } from './child.js';
import type { Teardown } from './teardown.js';

/** How the replicas are to treat the seat query from now on. */
export interface Setting {
  readonly collapse: CollapseMode;
  readonly busyMs: number;
}

/** One of the replicas as the page shows it. A place keeps its number; its process changes when it was killed. */
export interface ReplicaView {
  readonly number: number;
  readonly state: 'starting' | 'running' | 'gone';
  readonly pid: number | null;
  readonly activity: Activity;
}

export interface Replicas {
  /** Ports of those that run. */
  ports(): readonly number[];
  list(): readonly ReplicaView[];
  /** Resolves when each of them has obeyed. */
  configure(setting: Setting): Promise<void>;
  /**
   * Ends one without warning, by SIGKILL; another process takes its place a moment later. Without a number it is the one
   * that leads most. Undefined: there is none to kill.
   */
  kill(number?: number): { readonly number: number; readonly pid: number | null } | undefined;
  /** Hears of each change of {@link list}. */
  onChange(listener: () => void): void;
}

export interface ReplicasOptions {
  readonly count: number;
  readonly env: Readonly<Record<string, string>>;
  readonly teardown: Teardown;
}

/** Starts the replicas, each a process of its own, and resolves when all of them listen. */
export async function startReplicas({ count, env, teardown }: ReplicasOptions): Promise<Replicas> {
  const context: Context = { env, teardown, setting: { collapse: 'off', busyMs: 0 }, changed: () => {} };
  const places = Array.from({ length: count }, (_, index) => createPlace(index + 1));
  await Promise.all(places.map((place) => start(place, context)));
  return {
    ports: () => places.filter(({ state }) => state === 'running').map(({ port }) => port),
    list: () => places.map(({ number, state, child, activity }) => ({ number, state, pid: child?.pid ?? null, activity })),
    async configure(setting) {
      context.setting = setting;
      const running = places.flatMap(({ state, child }) => (state === 'running' && child !== undefined ? [child] : []));
      await Promise.all(running.map((child) => obey(child, setting)));
    },
    kill(number) {
      const victim = places
        .filter((place) => mayBeKilled(place, number))
        .sort((a, b) => b.activity.loading.length - a.activity.loading.length)[0];
      if (victim?.child === undefined) return undefined;
      const { pid = null } = victim.child;
      victim.state = 'gone'; // at once: the load balancer sends nothing more to it
      victim.child.kill();
      context.changed();
      return { number: victim.number, pid };
    },
    onChange: (listener) => void (context.changed = listener),
  };
}

interface Context {
  readonly env: Readonly<Record<string, string>>;
  readonly teardown: Teardown;
  setting: Setting;
  changed: () => void;
}

interface Place {
  readonly number: number;
  state: ReplicaView['state'];
  child: Child | undefined;
  port: number;
  activity: Activity;
}

const RESTART_MS = 3_000;
const IDLE: Activity = Object.freeze({ loading: [], waiting: 0, led: 0, followed: 0 });

function createPlace(number: number): Place {
  return { number, state: 'starting', child: undefined, port: 0, activity: IDLE };
}

function mayBeKilled(place: Place, number: number | undefined): boolean {
  return place.state === 'running' && (number === undefined || place.number === number);
}

async function start(place: Place, context: Context): Promise<void> {
  const { setting, env, teardown } = context;
  const overrides = { ...env, COLLAPSE: setting.collapse, BUSY_MS: String(setting.busyMs), PORT: '0', HOST: '127.0.0.1' };
  const child = startChild(`replica ${place.number}`, new URL('../server/main.js', import.meta.url), overrides, teardown);
  Object.assign(place, { state: 'starting', child, activity: IDLE });
  context.changed();
  child.onMessage(({ kind, activity }) => {
    if (kind !== 'activity' || place.child !== child || !isActivity(activity)) return;
    place.activity = activity;
    context.changed();
  });
  const { port } = await child.next('ready');
  await obey(child, context.setting); // it may have changed meanwhile
  Object.assign(place, { port: Number(port), state: 'running' });
  context.changed();
  if (!child.isRunning()) return replace(place, context);
  child.onExit(() => void replace(place, context));
}

/** However it ended, another takes its place; the pause lets people see that it is gone. */
async function replace(place: Place, context: Context): Promise<void> {
  Object.assign(place, { state: 'gone', child: undefined, activity: IDLE });
  context.changed();
  await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
  if (context.teardown.isRunning()) return;
  await start(place, context).catch((error: unknown) => {
    if (context.teardown.isRunning()) return;
    console.error(String(error));
    return replace(place, context);
  });
}

/** A replica that ends instead of answering has nothing left to obey with. */
async function obey(child: Child, setting: Setting): Promise<void> {
  const configured = child.next('configured');
  child.send({ kind: 'configure', ...setting });
  await configured.catch(() => {});
}
