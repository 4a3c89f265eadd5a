#!/usr/bin/env node
import { HELP, parseArguments, withoutPassword } from './arguments.js';
import { isScreen, Terminal } from './terminal.js';
import { reasonOf, top } from './top.js';

const parsed = parseArguments(process.argv.slice(2), process.env);

switch (parsed.kind) {
  case 'help':
    process.stdout.write(`${HELP}\n`);
    break;
  case 'wrong':
    process.stderr.write(`${parsed.message}\nHelp: npx oneflight --help\n`);
    process.exitCode = 2;
    break;
  case 'top': {
    const ended = new AbortController();
    const { json, once } = parsed.options;
    const terminal = !json && !once && isScreen(process.stdout, process.env) ? new Terminal(process.stdout) : undefined;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => ended.abort());
    if (terminal !== undefined) stopInOrder(terminal);
    process.stdout.on('error', () => ended.abort()); // whoever read it has gone, as `| head` does
    try {
      await top(parsed.options, process.stdout, ended.signal, terminal);
    } catch (error) {
      process.stderr.write(
        `cannot look at ${withoutPassword(parsed.options.url)}: ${reasonOf(error)}\nName another server by --url or REDIS_URL.\n`,
      );
      process.exitCode = 1;
    }
    break;
  }
}

/** Ctrl-Z gives the terminal back to the shell, and `fg` takes it again. Windows has neither. */
function stopInOrder(terminal: Terminal): void {
  if (process.platform === 'win32') return;
  process.on('SIGTSTP', () => {
    terminal.leave();
    process.kill(process.pid, 'SIGSTOP');
  });
  process.on('SIGCONT', () => terminal.open());
}
