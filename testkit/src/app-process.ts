import { fileURLToPath } from 'node:url';
import { spawnServer } from './child-server.js';
import { waitFor } from './wait-for.js';

const START_MS_MAX = 20_000;

/** An application as a process of its own, as its user starts it. It never outlives the process that started it. */
export interface TestApp {
  /** Where it says that it listens. */
  readonly url: string;
  /** The last lines it printed. */
  readonly log: string;
  /** Ends it as a crash does. */
  kill9(): Promise<void>;
  /** Asks it to end and resolves with its exit code; null where it had to be killed. */
  stop(): Promise<number | null>;
}

/** Runs a built `main` and resolves when it has printed `listening on http://…`. Rejects with what it printed. */
export async function startApp(main: URL, env: Readonly<Record<string, string>>): Promise<TestApp> {
  const app = spawnServer(process.execPath, [fileURLToPath(main)], { env: { ...process.env, PORT: '0', ...env } });
  const address = (): string | undefined => /listening on (http:\S+)/.exec(app.log)?.[1];
  await waitFor(() => !app.running || address(), { timeoutMs: START_MS_MAX, what: `${main.pathname} to listen` });
  const url = address();
  if (url === undefined) throw new Error(`${main.pathname} did not start (is it built?):\n${app.log}`);
  return {
    url,
    get log() {
      return app.log;
    },
    kill9: () => app.end('SIGKILL'),
    async stop() {
      await app.end('SIGTERM');
      return app.exitCode;
    },
  };
}
