#!/usr/bin/env node
import { HELP, parseArguments, withoutPassword } from './arguments.js';
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
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => ended.abort());
    process.stdout.on('error', () => ended.abort()); // whoever read it has gone, as `| head` does
    try {
      await top(parsed.options, process.stdout, ended.signal);
    } catch (error) {
      process.stderr.write(
        `cannot look at ${withoutPassword(parsed.options.url)}: ${reasonOf(error)}\nName another server by --url or REDIS_URL.\n`,
      );
      process.exitCode = 1;
    }
    break;
  }
}
