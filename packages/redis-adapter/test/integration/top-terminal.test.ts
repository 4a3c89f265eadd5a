import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startRedis, type TestServer, waitFor } from '@oneflight/testkit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createCollapser, type Collapser } from '@oneflight/core';
import { redisCoordinator } from '../../src/index.js';
import { TerminalScreen } from '../support/terminal-screen.js';

/*
 * `oneflight top` on a real pseudo terminal, which `script` of util-linux makes, against a Redis with flights in progress.
 * What it writes goes through a small terminal that says what its user sees.
 */
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const missing = whyNot();
const FLIGHTS = 30;
const ESC = '\u001B';

let server: TestServer;
let collapsers: Collapser[];
let release = (): void => {};
let calls: Promise<unknown>;
const open: Session[] = [];

beforeAll(async () => {
  if (missing !== undefined) return;
  if (!existsSync(main)) throw new Error('the command is not built: run `npx tsc -b` first');
  server = await startRedis();
  collapsers = [1, 2, 3].map(() => createCollapser({ coordinator: redisCoordinator({ redis: () => new Redis(server.url) }) }));
  const held = new Promise<void>((resolve) => (release = resolve));
  const keys = Array.from({ length: FLIGHTS }, (_, key) => key);
  calls = Promise.all(keys.flatMap((key) => collapsers.map((collapser) => collapser.run(['k', key], () => held))));
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((session) => session.end()));
  server?.resume();
});

afterAll(async () => {
  release();
  await calls;
  await Promise.all((collapsers ?? []).map((collapser) => collapser.close()));
  await server?.stop();
});

describe.skipIf(missing !== undefined)(`oneflight top on a terminal${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  it('fills the screen and no more: no line wraps, none scrolls away, and the cursor is hidden', async () => {
    const top = start({ rows: 24, columns: 80 });
    await top.shows(/^… and \d+ more, younger ones$/);
    await top.frames(3);
    const { text, scrolled, isCursorShown, isOwn } = top.screen;
    expect(text[0]).toContain('oneflight top');
    expect(text.find((line) => line.startsWith('REPLICA'))).toBeDefined();
    expect({ scrolled, isCursorShown, isOwn }).toEqual({ scrolled: 0, isCursorShown: false, isOwn: true });
    expect(text.every((line) => line.length <= 80)).toBe(true);
    expect(text.at(-1)).not.toBe('');
  });

  it('draws one look over the other without a blank screen between them', async () => {
    const top = start({ rows: 24, columns: 80 });
    await top.frames(3);
    expect(top.written).not.toContain('\u001B[2J');
    const endings = top.written.split(`${ESC}[`).map((rest) => /^[?;\d]*([A-Za-z])/.exec(rest)?.[1]);
    expect(endings).not.toContain('m'); // no colours: there is nothing for NO_COLOR to switch off
  });

  it.each([
    ['narrow', { rows: 24, columns: 20 }],
    ['short', { rows: 6, columns: 80 }],
    ['tiny', { rows: 2, columns: 5 }],
  ])('cuts what does not fit on a %s terminal', async (_what, size) => {
    const top = start(size);
    await top.frames(3);
    const { text, scrolled } = top.screen;
    expect(scrolled).toBe(0);
    expect(text[0]?.slice(0, 4)).toBe('onef');
    expect(size.columns < 80 ? text[0]?.at(-1) : '…').toBe('…');
    expect(text.every((line) => line.length <= size.columns)).toBe(true);
  });

  it('is drawn anew at once when the terminal becomes larger or smaller', async () => {
    const top = start({ rows: 24, columns: 80 }, ['--interval', '60000']);
    await top.shows(/^REPLICA/);
    top.resize({ rows: 60, columns: 120 });
    await waitFor(() => top.screen.text.filter((line) => /^[\w-]{16} /.test(line)).length === FLIGHTS, {
      what: 'all flights on a tall screen',
    });
    top.resize({ rows: 8, columns: 30 });
    await waitFor(() => top.screen.text.filter((line) => /^[\w-]{16} /.test(line)).length <= 3, { what: 'few flights on a low one' });
    expect(top.screen.scrolled).toBe(0);
  });

  it('gives the terminal back on Ctrl-C with the last look on it, and ends with exit code 0', async () => {
    const top = start({ rows: 40, columns: 100 });
    await top.frames(2);
    expect(await top.type('\u0003')).toBe(0);
    const { isCursorShown, isOwn, text } = top.screen;
    expect({ isCursorShown, isOwn }).toEqual({ isCursorShown: true, isOwn: false });
    expect(text.some((line) => line.startsWith('REPLICA'))).toBe(true);
    expect(top.written.trimEnd().endsWith('\u001B[?1049l')).toBe(false);
  });

  it('ends at once on Ctrl-C while the server is silent', async () => {
    const top = start({ rows: 24, columns: 80 });
    await top.frames(2);
    server.pause();
    const frames = top.frameCount();
    await new Promise((resolve) => setTimeout(resolve, 300)); // longer than the time between two looks: one is under way
    expect(top.frameCount() - frames).toBeLessThanOrEqual(1);
    const askedAt = performance.now();
    expect(await top.type('\u0003')).toBe(0);
    expect(performance.now() - askedAt).toBeLessThan(2_000);
    expect(top.screen.isCursorShown).toBe(true);
  });

  it('lends the terminal to the shell on Ctrl-Z, and takes it again afterwards', async () => {
    const top = start({ rows: 24, columns: 80 });
    await top.frames(2);
    const from = top.written.length;
    await top.stopAndGoOn();
    await waitFor(() => top.written.slice(from).includes('?1049h'), { what: 'the terminal to be taken again' });
    const since = top.written.slice(from);
    expect(since.indexOf('?1049l')).toBeGreaterThan(-1);
    expect(since.slice(since.indexOf('?1049l'), since.indexOf('?1049h'))).not.toContain('oneflight top');
    await top.shows(/^REPLICA/);
  });

  it('says that the server is away where the looks were, and goes on when it is back', async () => {
    const top = start({ rows: 24, columns: 80 });
    await top.frames(2);
    const port = server.port;
    await server.kill9();
    await top.shows(/^no answer from redis:\/\/127.0.0.1:\d+/);
    expect(top.screen.text.filter((line) => line !== '')).toHaveLength(1);
    await server.restart();
    expect(server.port).toBe(port);
    await top.shows(/flights? in progress/);
  });

  it('with --once, with --json and on a terminal that can draw nothing writes line after line', async () => {
    for (const [args, env] of [
      [['--once'], {}],
      [['--once', '--json'], {}],
      [[], { TERM: 'dumb' }],
    ] as const) {
      const top = start({ rows: 24, columns: 200 }, ['--interval', '100', ...args], env);
      await waitFor(() => top.written.includes('keys'), { what: 'a look' });
      if (args.length === 0) await top.type('\u0003');
      else expect(await top.exited).toBe(0);
      expect(top.written).not.toContain('\u001B');
    }
  });
});

interface Size {
  readonly rows: number;
  readonly columns: number;
}

interface Session {
  readonly screen: TerminalScreen;
  readonly written: string;
  readonly exited: Promise<number | null>;
  frameCount(): number;
  frames(count: number): Promise<void>;
  shows(line: RegExp): Promise<void>;
  resize(size: Size): void;
  type(keys: string): Promise<number | null>;
  stopAndGoOn(): Promise<void>;
  end(): Promise<void>;
}

/** Runs the command on a terminal of this size. What it writes first is the terminal's name and the command's process id. */
function start({ rows, columns }: Size, args: readonly string[] = ['--interval', '100'], env: NodeJS.ProcessEnv = {}): Session {
  const command = ['exec', process.execPath, main, 'top', '--url', server.url, ...args]
    .map((word) => `'${word}'`)
    .join(' ')
    .replace("'exec'", 'exec');
  const child: ChildProcess = spawn('script', ['-qec', `stty rows ${rows} cols ${columns}; tty; echo $$; ${command}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh', ...env },
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const screen = new TerminalScreen(rows, columns);
  let head = '';
  let written = '';
  let place: { tty: string; pid: number } | undefined;
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    if (place !== undefined) {
      written += chunk;
      screen.write(chunk);
      return;
    }
    head += chunk;
    const [whole, tty = '', pid = ''] = /^(\S+)\r\n(\d+)\r\n/.exec(head) ?? [];
    if (whole === undefined) return;
    place = { tty, pid: Number(pid) };
    written = head.slice(whole.length);
    screen.write(written);
  });
  const session: Session = {
    screen,
    exited,
    get written() {
      return written;
    },
    frameCount: () => written.split('\u001B[H').length - 1,
    frames: async (count) => {
      await waitFor(() => session.frameCount() >= count, { timeoutMs: 20_000, what: `${count} frames` });
    },
    shows: async (line) => {
      await waitFor(() => screen.text.some((each) => line.test(each)), { timeoutMs: 20_000, what: `a line like ${String(line)}` });
    },
    resize(size) {
      screen.resize(size.rows, size.columns);
      execFileSync('stty', ['-F', place?.tty ?? '', 'rows', String(size.rows), 'cols', String(size.columns)]);
    },
    async type(keys) {
      child.stdin?.write(keys);
      return exited;
    },
    async stopAndGoOn() {
      const pid = place?.pid ?? Number.NaN;
      process.kill(pid, 'SIGTSTP');
      await waitFor(() => readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') T '), { what: 'the command to be stopped' });
      // script stops with what it runs, perhaps before it has passed on all that was written.
      child.kill('SIGCONT');
      process.kill(pid, 'SIGCONT');
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      if (place !== undefined) process.kill(place.pid, 'SIGKILL');
      child.kill('SIGKILL');
      await exited;
    },
  };
  open.push(session);
  return session;
}

/** Why there is no pseudo terminal to be had here. */
function whyNot(): string | undefined {
  try {
    const said = execFileSync('script', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return said.includes('util-linux') ? undefined : 'script is not that of util-linux';
  } catch {
    return 'script of util-linux is not on the PATH';
  }
}
