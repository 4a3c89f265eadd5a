import { execFileSync } from 'node:child_process';
import type { RedisOptions, TestServer } from './redis-server.js';
import { freePort } from './free-port.js';

/**
 * Starts Redis in a container, for `ONEFLIGHT_TEST_REDIS=containers`: the image is `ONEFLIGHT_TEST_REDIS_IMAGE`, else
 * redis:7-alpine. Faults are those of the container; the `docker` program sends them, because they must have happened when
 * the call returns. Imported only when asked for: testcontainers brings much along.
 */
export async function startRedisContainer({ args = [], port: wanted }: RedisOptions): Promise<TestServer> {
  const { GenericContainer, Wait } = await import('testcontainers');
  const port = wanted ?? (await freePort());
  const ready = Wait.forLogMessage(/eady to accept connections/);
  const container = await new GenericContainer(process.env['ONEFLIGHT_TEST_REDIS_IMAGE'] ?? DEFAULT_IMAGE)
    .withExposedPorts({ container: REDIS_PORT, host: port })
    .withCommand(['--port', String(REDIS_PORT), '--save', '', '--appendonly', 'no', '--protected-mode', 'no', ...args])
    .withWaitStrategy(ready)
    .start();
  const id = container.getId();
  const host = container.getHost();
  const endWithUs = (): void => attempt('rm', '--force', id);
  process.once('exit', endWithUs);
  return {
    host,
    port,
    url: `redis://${host}:${port}`,
    get pid() {
      return Number(docker('inspect', '--format', '{{.State.Pid}}', id));
    },
    async stop() {
      process.off('exit', endWithUs);
      attempt('unpause', id);
      await container.stop({ timeout: STOP_MS_MAX });
    },
    async kill9() {
      attempt('unpause', id);
      attempt('kill', id);
      await Promise.resolve();
    },
    pause: () => void docker('pause', id),
    resume: () => attempt('unpause', id),
    async restart() {
      attempt('unpause', id);
      attempt('kill', id);
      await container.restart({ timeout: 0 });
    },
  };
}

const DEFAULT_IMAGE = 'redis:7-alpine';
const REDIS_PORT = 6379;
const STOP_MS_MAX = 5_000;

function docker(...args: readonly string[]): string {
  return execFileSync('docker', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** For what may not be needed: a container that is not paused, or not there, is no failure. */
function attempt(...args: readonly string[]): void {
  try {
    docker(...args);
  } catch {
    // It was so already.
  }
}
